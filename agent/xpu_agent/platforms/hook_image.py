# SPDX-License-Identifier: Apache-2.0
"""Image octets to the hooks `image-write`, `image-commit` and `image-abort`.

The octets go on descriptor 3 while they are being hashed, so the end of file says nothing about
the image: only `image-commit` may make it bootable, and it is called after the digests were
compared. Nothing is bootable, and nothing need be cleaned up, when power is lost in between.
"""

from collections.abc import Callable

from xpu_agent import limits
from xpu_agent.errors import ExecutionError, Reason
from xpu_agent.platforms.hook_runner import HookAnswer, HookRunner, HookStream, HookVerdict
from xpu_agent.ports import ExpectedImage, ImageSink, VerifiedImage

FORMAT = "as-published"  # the octets of the file the download URI names
# What a pipe takes before anybody reads: a hook that exits with 64 may have left it there.
_REPLAY_BYTES = 64 * 1024
_TARGET_CHARS = 4096
_REASONS = frozenset(
    {
        Reason.DISK_FULL,
        Reason.SLOT_UNAVAILABLE,
        Reason.INSTALL_FAILED,
        Reason.IMAGE_SIGNATURE,
    }
)


class HookSink:
    """One image on its way into `image-write`; `builtin` answers if the hook exits with 64."""

    def __init__(
        self, runner: HookRunner, expected: ExpectedImage, builtin: Callable[[], ImageSink]
    ) -> None:
        self._runner = runner
        self._expected = expected
        self._make_builtin = builtin
        self._builtin: ImageSink | None = None
        self._target: str | None = None
        self._committed = False
        self._begin()

    def _begin(self) -> None:
        # What was handed over so far, while a pipe can still hold all of it unread.
        self._early: bytes | None = b""
        self._stream: HookStream | None = self._runner.start(
            "image-write", {"image": self._members(None)}
        )

    def write(self, data: memoryview) -> None:
        """Feed the hook; its failure comes out here or at `commit`."""
        if self._builtin is not None:
            self._builtin.write(data)
            return
        if self._stream is None:
            raise RuntimeError("the sink is closed")
        view = data.cast("B")
        answer = self._stream.write(view)
        if answer is not None:
            self._stream = None
            self._instead(answer).write(view)
        elif self._early is not None:
            room = len(self._early) + len(view) <= _REPLAY_BYTES
            self._early = self._early + view if room else None

    def restart(self) -> None:
        """A new run of the hook; the old one is ended."""
        if self._builtin is not None:
            self._builtin.restart()
            return
        self._kill()
        self._begin()

    def commit(self, image: VerifiedImage) -> None:
        """End of file, then `image-commit` with the target `image-write` answered."""
        if self._committed:
            return
        if self._builtin is None and self._stream is not None:
            stream, self._stream = self._stream, None
            answer = stream.finish(limits.HOOK_SECONDS)
            if answer.verdict is not HookVerdict.DONE:
                self._instead(answer)
            else:
                self._target = answer.text("target", _TARGET_CHARS)
        if self._builtin is not None:
            self._builtin.commit(image)
        else:
            answer = self._runner.ask(
                "image-commit",
                {"target": self._target, "image": self._members(image.size), **self._digests()},
            )
            if answer.verdict is not HookVerdict.DONE:
                raise _failed("image-commit", answer)
        self._committed = True

    def abort(self) -> None:
        """End the hook and tell `image-abort`, with target null where none was answered."""
        if self._builtin is not None:
            self._builtin.abort()
            return
        self._kill()
        if self._committed:
            return
        answer = self._runner.ask(
            "image-abort", {"target": self._target, "reason": "aborted", **self._digests()}
        )
        # One that hands back has written nothing.
        if answer.verdict not in {HookVerdict.DONE, HookVerdict.NOT_SUPPORTED}:
            raise _failed("image-abort", answer)

    def _instead(self, answer: HookAnswer) -> ImageSink:
        """The built-in sink with all the hook was given so far, if it doesn't support the verb."""
        if answer.verdict is not HookVerdict.NOT_SUPPORTED or self._early is None:
            raise _failed("image-write", answer)
        self._builtin = self._make_builtin()
        self._builtin.write(memoryview(self._early))
        return self._builtin

    def _kill(self) -> None:
        if self._stream is not None:
            self._stream.kill()
            self._stream = None

    def _digests(self) -> dict[str, object]:
        return {"digests": {"sha-256": self._expected.sha256.hex()}}

    def _members(self, size: int | None) -> dict[str, object]:
        return {
            "os-name": self._expected.os_name,
            "os-version": self._expected.os_version,
            "size": size,
            "format": FORMAT,
            **self._digests(),
        }


def _failed(verb: str, answer: HookAnswer) -> ExecutionError:
    named = answer.members.get("reason")
    reason = next((r for r in _REASONS if r == named), Reason.INSTALL_FAILED)
    return ExecutionError(reason, f"the hook {verb} failed: {answer.message or 'not supported'}")
