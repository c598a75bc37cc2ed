"""Jinja filters for answers that no prompt checks: given by `-d` or a data file, or remembered and taken by `--defaults`."""

from pathlib import Path, PurePath

import yaml
from copier.errors import UserMessageError
from jinja2 import Environment, pass_context
from jinja2.ext import Extension
from jinja2.runtime import Context

COPIER_YML = Path(__file__).parents[1] / "copier.yml"
# What Copier reads as yes or no. Any other text is a yes to it, too.
YES_OR_NO = "y yes t true on 1 n no f false off 0 ~ null none".split()
KINDS = {list: "a list", dict: "a mapping", type(None): "null"}


class Answers(Extension):
    """Register the filters to copier.yml."""

    def __init__(self, environment: Environment):
        super().__init__(environment)
        settings = yaml.safe_load(COPIER_YML.read_text("utf-8"))
        self._questions = {name: details for name, details in settings.items() if not name.startswith("_")}
        environment.filters |= {"asked": self.asked, "refuse": refuse, "start_problem": start_problem}

    @pass_context
    def asked(self, context: Context, question: str, applies: bool = True) -> bool:
        """Whether a question is asked: if it applies.

        Raises:
            UserMessageError: an answer that no prompt checks is wrong. If Copier itself finds that out, it shows a
                traceback, or forgets without a word what was remembered.
        """
        conf = context["_copier_conf"]
        self._refuse_unknown(conf)
        # All of them at the first question: nobody shall answer prompts in vain.
        for name in self._questions:
            if name in conf["data"]:
                refuse(self._kind_problem(name, conf["data"][name]), name)
        details = self._questions[question]
        unasked, needed = conf["defaults"] or "ask" in details, "default" not in details
        if question in conf["data"] or (applies and unasked and (needed or question in context)):
            refuse(self._problem(context, question, context.get(question, "")), question)
        return applies

    def _refuse_unknown(self, conf: dict) -> None:
        # The two new copies that an update compares are given all that the project remembers: questions may be gone.
        if conf["overwrite"] and not Path(conf["dst_path"], conf["answers_file"]).is_file():
            return
        for name in conf["data"]:
            if name not in self._questions and not name.startswith("_"):
                raise UserMessageError(
                    f"{self._shown(name)} is not a question. Fix: write one of {', '.join(self._questions)}"
                )

    def _problem(self, context: Context, name: str, answer: object) -> str:
        """What is wrong with an answer, in one line; empty if nothing is."""
        if problem := self._kind_problem(name, answer):
            return problem
        validator = self.environment.from_string(self._questions[name].get("validator", ""))
        return validator.render({**context.get_all(), name: str(answer)})

    def _kind_problem(self, name: str, answer: object) -> str:
        """The same, of what can be said without the other answers."""
        details, right, fits = self._questions[name], "one text", True
        if choices := details.get("choices", {}).values():
            right, fits = f"one of {', '.join(choices)}", str(answer) in choices
        elif details["type"] == "bool":
            right, fits = "yes or no", str(answer).strip().lower() in YES_OR_NO
        plain = isinstance(answer, str | int | float)
        if fits and plain:
            return ""
        shown = self._shown(str(answer)) if plain else KINDS.get(type(answer), f"a {type(answer).__name__}")
        return f"{shown} is not an answer. Fix: write {right}"

    def _shown(self, text: str) -> str:
        """In quotes, without a secret: what was meant for another question may be a remote's URL."""
        return self.environment.filters["masked"](text)


def start_problem(start: str, answers_file: PurePath) -> str:
    """Why a project cannot start so, in one line; empty if it can: an existing project has started."""
    path = Path(answers_file)
    if not path.is_file() or start == yaml.safe_load(path.read_text("utf-8")).get("start", start):
        return ""
    return "cannot change after the copy. Fix: add a stage by `uv run pipeline add NOTEBOOK`"


def refuse(problem: str, question: str) -> bool:
    """Lets pass an answer that has no problem.

    Raises:
        UserMessageError: it has one; Copier ends with this one line.
    """
    if problem:
        raise UserMessageError(f"{question}: {problem}".replace("\n", " "))
    return True
