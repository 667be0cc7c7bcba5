"""A method that another package adds: of many random natural supports, the one that predicts a batch best."""

from dataclasses import dataclass

from hpcdistill.method import Method
from hpcdistill.schema import key


@dataclass(frozen=True)
class SearchConfig:
    tries: int = key(20, "supports that are tried", minimum=1)
    growth: float = key(1.0, "what images of each are multiplied by, once more than of the one before", above=0)


class RandomSearch(Method):
    name = "random_search"
    title = "Random search"
    help = "the best of many random supports"
    settings = SearchConfig
    driver = "random_search.driver:SearchDriver"
    resumable = frozenset({"random_search.tries"})

    def steps(self, config):
        return config.of(SearchConfig).tries


METHOD = RandomSearch()
