"""BentoML: answers `{"o": n}` to `{"n": n}`."""

import bentoml


@bentoml.service(workers=1)
class Echo:
    """Does nothing else."""

    @bentoml.api(route="/")
    def echo(self, n: int) -> dict[str, int]:
        return {"o": n}
