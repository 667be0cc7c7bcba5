import numpy as np

from hpcdistill.data.sampling import draw_support
from hpcdistill.run.driver import Driver, Moment, Snapshot
from random_search import METHOD


class SearchDriver(Driver):
    step, best, loss, source = 0, 0, np.inf, None

    def __init__(self, experiment, evaluator, resumed):
        super().__init__(experiment, evaluator, resumed)
        if resumed:
            self.step, self.source = resumed.attribute("step"), resumed.array("support/source_index")
            self.loss, self.best = resumed.array("random_search/loss")[0], int(resumed.array("random_search/best")[0])

    def support(self, source, number):
        x_s, y_s = self.experiment.natural_support(source)
        return x_s * self.experiment.config.of(METHOD.settings).growth ** number, y_s

    @property
    def saved_as(self):
        return self.step or None

    def snapshot(self):
        x_s, y_s = self.support(self.source, self.best)
        display, arrays = self.experiment.display(x_s), {
            "random_search/loss": np.array([self.loss]), "random_search/best": np.array([self.best])
        }  # fmt: skip
        return Snapshot(self.step, x_s, y_s, self.history, self.source, display, arrays)

    def moments(self):
        experiment, config = self.experiment, self.experiment.config
        targets = experiment.batch_targets(0, 200)
        while self.step < METHOD.steps(config):
            source = draw_support(experiment.pool, config.support.images_per_class, config.seed, self.step)
            x_s, y_s = self.support(source, self.step)
            regression = experiment.regression_on(x_s)
            found, accuracy = regression.evaluate(y_s, targets), self.evaluator.test(regression, x_s, y_s).accuracy
            regression.close()
            if found.loss < self.loss:
                self.loss, self.source, self.best = found.loss, source, self.step
            self.step += 1
            self.history.add(self.step, loss=self.loss, test_accuracy=accuracy, seconds=self.seconds(),
                             tried_loss=found.loss)  # fmt: skip
            yield Moment.STEP
