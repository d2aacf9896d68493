"""What is deployed goes to the registry that nightly.toml names, every night: a push that failed is made up
for by the next night, and after a rollback the alias moves back.
"""

from ..config import ModelConfig
from ..records.event import Event
from ..work import Work

ALIAS = "champion"  # of the version that is deployed


def push(work: Work, model: ModelConfig) -> list[Event]:
    """The event of a push that made a new version, or of one that failed; none where nothing changed, nothing
    is deployed, or no registry is named.
    """
    version = work.places.read_deployed(model.name).version
    if model.push is None or version is None:
        return []
    bundle = work.places.versions(model.name) / version.name
    words = ["push", str(bundle), model.push, "--alias", ALIAS, "--json"]
    run = work.places.folder / version.run
    if model.push.startswith("mlflow:") and run.is_dir():
        words += ["--run", str(run)]
    ended = work.commands.run(words, log=work.log(model.name))
    if ended.exit_code != 0:
        sentence = f"{version.name} could not be pushed to {model.push}: {ended.reason}"
        return [work.event("search-failed", "bad", sentence, model=model.name)]
    made = ended.last_object
    if not made.get("new"):
        return []
    sentence = f"{version.name} is version {made.get('version')} of {model.push} now, alias {ALIAS}."
    return [work.event("deployed", "good", sentence, model=model.name)]
