"""``anonymizer models list|verify|fetch|card``."""

from __future__ import annotations

import argparse

from rich.console import Console
from rich.markdown import Markdown
from rich.padding import Padding

from anonymizer import download, registry, resources
from anonymizer.errors import ModelError


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    models = commands.add_parser("models", help="the models: list, verify, fetch, read their cards")
    verbs = models.add_subparsers(metavar="VERB", required=True)
    verbs.add_parser("list", help="all known models and which are present").set_defaults(command=_list)
    verify = verbs.add_parser("verify", help="check hash and contract of the models that are present")
    verify.add_argument("names", nargs="*", metavar="NAME", help="only these; a missing one is then an error")
    verify.set_defaults(command=_verify)
    fetch = verbs.add_parser("fetch", help="download public models")
    fetch.add_argument("names", nargs="+", metavar="NAME")
    fetch.set_defaults(command=_fetch)
    card = verbs.add_parser("card", help="what a model was made from, how well it works, what it may be used for")
    card.add_argument("name", metavar="NAME")
    card.set_defaults(command=_card)


def _list(_: argparse.Namespace) -> int:
    known, console = registry.manifest(), Console(highlight=False)
    longest = max(len(model.name) for model in known)
    for model in known:
        where = "comes with the project" if model.own else "fetched" if model.present else "not fetched"
        size = f"{model.size / 1e6:.2f} MB"
        print(f"{model.name:{longest}}  {model.role:10} {size:>9}  {model.licence}, {where}")
        console.print(Padding(model.description, (0, 0, 0, 4)))
    console.print(f"Fetched models lie in {registry.fetched()}", soft_wrap=True)
    return 0


def _verify(given: argparse.Namespace) -> int:
    chosen = [registry.find(name) for name in given.names] or [m for m in registry.manifest() if m.present or m.own]
    failed = 0
    for model in chosen:
        try:
            registry.verify(model)
            print(f"{model.name}: good")
        except ModelError as error:
            failed += 1
            print(f"{model.name}: BAD: {error}")
    return ModelError.exit_code if failed else 0


def _fetch(given: argparse.Namespace) -> int:
    for model in [registry.find(name) for name in given.names]:
        print(f"{model.name}: {download.fetch(model)} ({model.licence})")
    return 0


def _card(given: argparse.Namespace) -> int:
    model = registry.find(given.name)
    path = resources.folder("models") / "cards" / f"{model.name}.md"
    if model.own and path.is_file():
        Console().print(Markdown(path.read_text("utf-8")))
        return 0
    origin = model.url or f"{model.member} in the Python wheel {model.wheel}"
    print(f"{model.name}: {model.description}\nRole: {model.role}\nOrigin: {origin}\nLicence: {model.licence}")
    print(f"SHA-256: {model.sha256}\nSize: {model.size} bytes")
    return 0
