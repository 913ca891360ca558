"""rustls gets only the authorities that verified chains needed so far. A target of another one is accepted too."""

from pathlib import Path

from reconcilers.health import Outcome
from tests.support.chains import link, serving
from tests.support.probing import Bench, spec
from tests.support.targets import Target

ONE, OTHER, UNUSED = (link(name, authority=True) for name in ("one", "other", "unused"))


def test_a_target_of_an_authority_that_was_not_needed_yet_is_accepted(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(ONE.pem() + OTHER.pem() + UNUSED.pem())
    folders = [tmp_path / "one", tmp_path / "other"]
    contexts = []
    for folder, authority in zip(folders, (ONE, OTHER), strict=True):
        folder.mkdir()
        contexts.append(serving(folder, link("localhost", authority, names=("localhost",))))
    bench = Bench(bundle)
    try:
        with Target(contexts[0]) as one, Target(contexts[1]) as other:
            trust = bench.engine._prober._files.tls._trust(str(bundle))
            for target, connections, needed in ((one, 1, 1), (other, 2, 2), (one, 2, 2), (other, 3, 2)):
                assert bench.result(spec(target)).outcome is Outcome.SUCCESS
                assert (len(target.accepted()), len(trust.needed)) == (connections, needed)
    finally:
        bench.engine.close(5)
