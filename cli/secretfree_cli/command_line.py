"""The base of all commands of `secretfree`: options in named sections, lazy groups, failures in one line or as JSON."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final, Protocol, TypeVar

import click
from click.shell_completion import CompletionItem

from secretfree_cli.aws_failures import explain_aws_error
from secretfree_cli.extras import advice_for
from secretfree_cli.output import CliError, emit_json, emit_json_line

_PARTIAL_RESULT: Final = "secretfree.partial-result"
_OWN_SECTION: Final = "Options"
_F = TypeVar("_F", bound=Callable[..., Any])


class SectionOption(click.Option):
    """An option that is listed in a section of the help."""

    def __init__(self, *args: Any, section: str = _OWN_SECTION, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.section = section


class OptionDecorator(Protocol):
    """What `click.option` is."""

    def __call__(self, *declarations: str, **settings: Any) -> Callable[[_F], _F]:
        """Return the decorator of an option."""
        ...


def section(title: str) -> OptionDecorator:
    """Return `click.option` for the options of one section of the help."""
    return functools.partial(click.option, cls=SectionOption, section=title)


class Command(click.Command):
    """A command whose help has sections, and that reports its failures for people and programs.

    A failure is one line on stderr. Under `--json` it is also one JSON document on stdout.
    """

    emit_failure = staticmethod(emit_json)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options by section, the command's own first."""
        sections: dict[str, list[tuple[str, str]]] = {_OWN_SECTION: []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                sections.setdefault(getattr(parameter, "section", _OWN_SECTION), []).append(record)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Parse the arguments. An error in them is reported like any failure."""
        as_json = "--json" in args
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.ClickException as error:
            if as_json:
                self.emit_failure(_document(error))
            raise

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. A failure of AWS or the network, or a missing package, becomes a CliError."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            failure = error if isinstance(error, click.ClickException) else _explained(error)
            if failure is None:
                raise
            if ctx.params.get("as_json"):
                self.emit_failure({**ctx.meta.get(_PARTIAL_RESULT, {}), **_document(failure)})
            if failure is error:
                raise
            raise failure from error


class LinesCommand(Command):
    """A command whose `--json` writes JSON Lines: a failure is one line too."""

    emit_failure = staticmethod(emit_json_line)


def keep_partial_result(document: Mapping[str, object]) -> None:
    """Keep the partial result of a command that fails, for the JSON document of the failure."""
    click.get_current_context().meta[_PARTIAL_RESULT] = document


command = functools.partial(click.command, cls=Command)


class Group(click.Group):
    """A group of such commands."""

    command_class = Command


Group.group_class = Group


@dataclass(frozen=True)
class Subcommand:
    """The location of a subcommand, and its summary in the overview."""

    location: str
    """`module:attribute`."""
    summary: str
    extra: str = "cli"
    """The extra of the distribution that includes all its imports."""


class LazyGroup(Group):
    """A group that imports the module of a subcommand only when that subcommand is used.

    A missing dependency of one module does not break the others, and `secretfree --help` imports no AWS SDK.
    """

    def __init__(self, *args: Any, subcommands: Mapping[str, Subcommand], **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._subcommands = subcommands

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table, without modules that this installation lacks."""
        present = [name for name, subcommand in self._subcommands.items() if _is_installed(subcommand)]
        return [*present, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the subcommand, or None if there is none of that name.

        Shell completion also gets None if a package is missing, because it cannot show an error.
        """
        subcommand = self._subcommands.get(cmd_name)
        if subcommand is None or not _is_installed(subcommand):
            return super().get_command(ctx, cmd_name)
        try:
            return load(cmd_name, subcommand)
        except CliError:
            if ctx.resilient_parsing:
                return None
            raise

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the names from the table, so that completion imports nothing, and the options."""
        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        commands = [CompletionItem(name, help=self._summary(ctx, name)) for name in names]
        return [*commands, *click.Command.shell_complete(self, ctx, incomplete)]

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand. A failure of AWS or the network, or a missing package, becomes a CliError."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            failure = _explained(error)
            if failure is None:
                raise
            raise failure from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the overview from the table, without an import."""
        rows = [(name, self._summary(ctx, name)) for name in self.list_commands(ctx)]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)

    def _summary(self, ctx: click.Context, name: str) -> str:
        if name in self._subcommands:
            return self._subcommands[name].summary
        command = super().get_command(ctx, name)
        return command.get_short_help_str() if command else ""


def load(name: str, subcommand: Subcommand) -> click.Command:
    """Import a subcommand. Raises CliError that names the extra if a package is missing."""
    module_name, _, attribute = subcommand.location.partition(":")
    try:
        loaded = getattr(import_module(module_name), attribute)
    except ModuleNotFoundError as error:
        raise _missing_package(error, f"secretfree {name}", subcommand.extra) from error
    if not isinstance(loaded, click.Command):
        raise TypeError(f"{subcommand.location} is {type(loaded).__name__}, not a click command")
    return loaded


def _explained(error: Exception) -> CliError | None:
    if isinstance(error, ModuleNotFoundError):
        return _missing_package(error, click.get_current_context().command_path)
    explained = explain_aws_error(error)
    cause = error.__cause__
    if explained is None and isinstance(cause, Exception) and type(error).__module__.startswith("secretfree."):
        return explain_aws_error(cause)  # The runtime's adapters turn AWS's errors into their own types.
    return explained


def _missing_package(error: ModuleNotFoundError, what: str, extra: str = "cli") -> CliError:
    return CliError(
        f"`{what}` needs the Python package {error.name!r}, which is not installed",
        hint=advice_for(error.name or "", extra),
    )


def _document(error: click.ClickException) -> dict[str, object]:
    hint = getattr(error, "hint", None)
    document = {"message": error.format_message(), "exitCode": int(error.exit_code)}
    return {"error": document if hint is None else {**document, "hint": hint}}


def _is_installed(subcommand: Subcommand) -> bool:
    module = subcommand.location.partition(":")[0]
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # The package around the module is missing too.
        return False
