#!/usr/bin/env bash
# KIP with the ConvNet, 1 image per class, learned labels, on two cores: stages of small batches and falling learning rates,
# each of which starts from the support that the one before it left (its optimiser starts anew). jobs/results has what
# came out.
#
# usage: bash jobs/experiments/kip_stages.sh mnist|fashion-mnist|cifar-10 DATA_ROOT OUTPUT [RANKS]
#
# OUTPUT/1, OUTPUT/2, … are runs of their own. Started again, finished stages are passed over and a broken one goes on.
set -euo pipefail
cd "$(dirname "$0")/../.."
. jobs/environment.sh
export OMP_NUM_THREADS=1

usage() { sed -n '2,8p' "$0" | sed 's/^# \{0,1\}//'; exit 2; }
[ $# -ge 3 ] || usage
name=$1 root=$2 output=$3 ranks=${4:-2}

# steps, target images per step, Adam's step for images, for labels
case "$name" in
  mnist)
    config=mnist-convnet-1
    stages=("400 250 0.1 0.04" "552 100 0.1 0.02" "300 320 0.025 0.005" "96 640 0.01 0.002"
            "412 160 0.06 0.01" "109 480 0.012 0.003") ;;
  fashion-mnist)
    config=fashion-mnist-convnet-1
    stages=("300 250 0.1 0.04" "250 320 0.03 0.005" "60 640 0.008 0.002" "411 160 0.06 0.01"
            "109 480 0.012 0.003") ;;
  cifar-10)
    config=cifar-10-convnet-zca-1
    stages=("400 200 0.05 0.04" "54 400 0.015 0.01" "169 160 0.04 0.01"
            "409 320 0.015 0.005" "80 640 0.005 0.002") ;;
  *) usage ;;
esac

start=natural
for i in "${!stages[@]}"; do
  read -r steps batch rate label_rate <<< "${stages[$i]}"
  folder=$output/$((i + 1))
  mpirun -n "$ranks" hpcdistill run "jobs/paper/kip-convnet/$config.toml" --output "$folder" --resume \
    --set data.root="$root" --set support.init="$start" \
    --set augment.rotation=0 --set augment.shift=0 --set augment.channel_shift=0 --set augment.flip=false \
    --set kip.steps="$steps" --set kip.batch="$batch" \
    --set kip.learning_rate="$rate" --set kip.label_learning_rate="$label_rate" --set kip.evaluate_every=100
  start=$(realpath "$folder/latest.h5")
done
