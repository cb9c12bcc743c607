"""Every error that nimify raises on purpose, grouped by who must act.

    NimifyError                     anything below; has a sentence, a remedy and an exit code
    ├── ConfigError                 2   what was asked for is wrong: an option, nimify.yaml
    ├── ModelError                  3   the model file cannot be served as it is
    │   ├── UnsupportedModel        3   it is sound, but uses something that nimify does not serve
    │   └── UnsafeModel             3   it does what a model file from a stranger must not do
    ├── BundleError                 4   the bundle on disk is not what it should be
    │   ├── BundleEdited            4   regenerating would overwrite what its owner changed
    │   └── BundleDamaged           4   a file is missing, unreadable or does not match the manifest
    ├── EnvironmentProblem          5   this machine lacks something: a port, space, memory, a program
    │   └── BuildFailed             5   a step of an image's build failed
    ├── ProofFailed                 1   an image was built, and does not do what its bundle promises
    ├── PluginError                 6   an extension cannot be found, loaded or trusted
    └── DeployError                 10  a deployment did not come to be; says what runs now
        ├── NotDeployed             10  nothing changed: what ran before runs on
        ├── RolledBack              11  the new revision failed, and the one before it answers again
        └── LeftDegraded            12  the new revision failed, and so did going back

Classes take facts and build the sentence: what happened, to what, and what to do next. Nothing here knows HTTP,
gRPC or Click; each transport keeps one table of its own, and the command line turns `exit_code` into its status.
Statuses that no error carries (a failed check, a bug of ours, a signal) stand in docs/guide/exit-codes.md with these.
"""

from __future__ import annotations


class NimifyError(Exception):
    """Something went wrong that the user, not the developer, can act on.

    Attributes:
        message: One line: what happened, and to what.
        remedy: One line: what to do next; empty when the message says it all.
        exit_code: The process status the command line ends with.
    """

    exit_code = 1

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = one_line(message)
        self.remedy = one_line(remedy)

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}" if self.remedy else self.message


class ConfigError(NimifyError):
    """What was asked for is wrong; names the field and the fix."""

    exit_code = 2

    def __init__(self, message: str, *, field: str = "", remedy: str = "") -> None:
        super().__init__(f"{field}: {message}" if field else message, remedy=remedy)
        self.field = field


class ModelError(NimifyError):
    """The model file cannot be served as it is.

    Attributes:
        source: The file's name as the user gave it.
        cause: Why, without the file's name.
    """

    exit_code = 3

    def __init__(self, source: str, cause: str, *, remedy: str = "") -> None:
        super().__init__(f"Cannot use '{source}': {cause}", remedy=remedy)
        self.source = source
        self.cause = cause


class UnsupportedModel(ModelError):
    """The model is sound, but uses something that nimify does not serve."""


class UnsafeModel(ModelError):
    """The model does what a model file from a stranger must not do."""


class BundleError(NimifyError):
    """The bundle on disk is not what it should be."""

    exit_code = 4


class BundleEdited(BundleError):
    """Regenerating would overwrite what the bundle's owner changed.

    Attributes:
        paths: The files in question, relative to the bundle.
    """

    def __init__(self, bundle: str, paths: tuple[str, ...]) -> None:
        super().__init__(
            f"'{bundle}' has files that were changed since nimify wrote them: {', '.join(paths)}.",
            remedy="Keep your changes by moving the settings to nimify.yaml, or overwrite them with --force.",
        )
        self.paths = paths


class BundleDamaged(BundleError):
    """A file of the bundle is missing, unreadable or does not match the manifest."""


class EnvironmentProblem(NimifyError):
    """This machine lacks something: a free port, disk space, memory, a program."""

    exit_code = 5


class BuildFailed(EnvironmentProblem):
    """A step of an image's build failed.

    Attributes:
        evidence: The last lines that the builder wrote, the newest last.
    """

    def __init__(self, message: str, *, remedy: str = "", evidence: tuple[str, ...] = ()) -> None:
        super().__init__(message, remedy=remedy)
        self.evidence = evidence


class ProofFailed(NimifyError):
    """An image was built, and does not do what its bundle promises.

    Attributes:
        evidence: The last lines that the service in it wrote, the newest last.
    """

    exit_code = 1

    def __init__(self, message: str, *, remedy: str = "", evidence: tuple[str, ...] = ()) -> None:
        super().__init__(message, remedy=remedy)
        self.evidence = evidence


class PluginError(NimifyError):
    """An extension cannot be found, loaded or trusted."""

    exit_code = 6


class DeployError(NimifyError):
    """A deployment did not come to be.

    Attributes:
        evidence: The last lines that the failed revision wrote, the newest last.
    """

    exit_code = 10

    def __init__(self, message: str, *, remedy: str = "", evidence: tuple[str, ...] = ()) -> None:
        super().__init__(message, remedy=remedy)
        self.evidence = evidence


class NotDeployed(DeployError):
    """Nothing changed: what ran before runs on."""


class RolledBack(DeployError):
    """The new revision failed, and the one before it answers again."""

    exit_code = 11


class LeftDegraded(DeployError):
    """The new revision failed, and so did going back: somebody must look at it."""

    exit_code = 12


def one_line(text: str) -> str:
    """Text that cannot break out of its line: control characters become visible escapes.

    Model files name tensors, operators and files as they like; those names end up in messages, logs and terminals.
    """
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def shortened(text: str, limit: int = 120) -> str:
    """Text cut to `limit` characters with an ellipsis, for names that a hostile file made very long."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
