# SPDX-License-Identifier: Apache-2.0
"""Platforms by the name configuration gives them, and the options each takes.

One platform, named, never guessed: an unknown name or a missing option is a configuration error.
"""

from collections.abc import Mapping
from pathlib import Path

from xpu_agent.errors import ConfigurationError
from xpu_agent.platforms.context import PlatformContext
from xpu_agent.ports import Platform

# Own keys of each platform, and those of them that are paths (relative to the file they stand
# in, below `--root`). `configuration` has its schema in the configuration itself.
_OPTIONS: dict[str, frozenset[str]] = {
    "directory": frozenset({"path"}),
    "hooks": frozenset(),
}
_PATHS: dict[str, frozenset[str]] = {
    "directory": frozenset({"path"}),
    "hooks": frozenset(),
}


def platform_names() -> tuple[str, ...]:
    """The platforms there are, sorted."""
    return tuple(sorted(_OPTIONS))


def platform_options(name: str) -> frozenset[str]:
    """The own keys of a platform below `platform:`.

    Raises:
        ConfigurationError: no such platform.
    """
    try:
        return _OPTIONS[name]
    except KeyError:
        raise ConfigurationError(
            f"there is no platform {name!r}",
            next_action=f"name one of {', '.join(platform_names())}",
        ) from None


def platform_path_options(name: str) -> frozenset[str]:
    """Those of `platform_options` whose values are paths. Raises as it does."""
    platform_options(name)
    return _PATHS[name]


def make_platform(name: str, options: Mapping[str, object], context: PlatformContext) -> Platform:
    """The platform, with the executables of the hooks folder in front of it.

    Paths in `options` are absolute by now, or relative to the working directory.

    Raises:
        ConfigurationError: no such platform, an option missing, unknown or of the wrong type; a
            hook missing that the platform needs, or one that others may write.
    """
    unknown = sorted(set(options) - platform_options(name))
    if unknown:
        raise ConfigurationError(f"platform {name} has no option {', '.join(unknown)}")

    # Lazy: the registry is asked for names and options where no platform is made.
    from xpu_agent.platforms.bare import BarePlatform, kernel_boot_id
    from xpu_agent.platforms.directory import DirectoryPlatform
    from xpu_agent.platforms.hook_runner import HookRunner
    from xpu_agent.platforms.hooks import REQUIRED_VERBS, HookedPlatform

    runner = HookRunner(context)
    if name == "hooks":
        return HookedPlatform(
            BarePlatform(context), runner, boot_id=kernel_boot_id, required=REQUIRED_VERBS
        )
    directory = DirectoryPlatform(
        _path(name, options, "path"),
        state_dir=context.state_dir,
        check_stopped=context.check_stopped,
    )
    if context.hooks_dir is None or not context.hooks_dir.is_dir():
        return directory
    return HookedPlatform(directory, runner, boot_id=directory.boot_id)


def _path(name: str, options: Mapping[str, object], key: str) -> Path:
    value = options.get(key)
    if not isinstance(value, str | Path) or not str(value):
        raise ConfigurationError(
            f"platform {name} needs `{key}`",
            next_action=f"set platform.{key} to a folder",
        )
    return Path(value)
