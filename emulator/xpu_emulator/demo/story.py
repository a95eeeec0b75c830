# SPDX-License-Identifier: Apache-2.0
"""The demo's story: onboarding, nothing to do, reprovisioning, three attacks, a summary."""

import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from xpu_emulator.demo.agent import AgentProcess, Run, find_agent
from xpu_emulator.demo.view import View
from xpu_emulator.demo.world import (
    OTHER_SERIAL,
    TAMPERED_PATH,
    WANTED_OS,
    Device,
    World,
    clean_up,
    forged_voucher_signer,
)
from xpu_emulator.server import Operation

SERIAL = "XPU-DEMO-0001"
_REBOOT, _OK, _UNTRUSTED, _FAILED = 20, 0, 11, 12
_INTERRUPTED = 130


@dataclass(slots=True)
class _Stage:
    """The players: world, view, agent, and what has gone wrong so far."""

    world: World
    view: View
    agent: AgentProcess
    wrong: list[int] = field(default_factory=list)
    seen_files: int = 0

    def run(self, device: Device, *arguments: str) -> Run:
        run = self.agent.run(device.config, *arguments, heard=self._heard)
        self.show_files()
        for line in run.other_lines:
            self.view.say(line)
        return run

    def _heard(self, item: object) -> None:
        self.view.heard(item)
        self.show_files()

    def show_files(self) -> None:
        """File requests since the last look."""
        requests = self.world.files.requests
        for request in requests[self.seen_files :]:
            self.view.heard(request)
        self.seen_files = len(requests)

    def expect(self, run: Run, status: int, good: str, bad: str) -> bool:
        """Whether the run ended as it should; says so either way."""
        if run.status == status:
            self.view.verdict(good, good=True)
            return True
        reason = run.outcome.get("reason", "no reason given")
        message = run.outcome.get("message", "")
        self.view.verdict(f"{bad}: exit status {run.status}, {reason}: {message}", good=False)
        self.wrong.append(run.status or 1)
        return False

    def asked(self) -> int:
        """How often a server was asked for anything."""
        world = self.world
        return len(world.first.exchanges) + len(world.owner.exchanges) + len(world.files.requests)

    def downloads(self) -> int:
        """How often a file was asked for."""
        return len(self.world.files.requests)


def run(folder: Path, image_mib: int, command: str | None) -> int:
    """Play it; 0 if all went as it should, else the first of the agent's that should not be."""
    agent_command = find_agent(command)
    view = View()
    began = time.monotonic()
    agent = AgentProcess(agent_command)
    try:
        with World(folder.absolute(), image_mib) as world:
            stage = _Stage(world, view, agent)
            for server in (world.first, world.owner):
                server.subscribe(agent.put)
            _play(stage, folder, image_mib, began)
            return stage.wrong[0] if stage.wrong else _OK
    except KeyboardInterrupt:
        agent.stop()
        clean_up(folder.absolute())
        sys.stdout.write("\ninterrupted; nothing is left running, the demo's folder is removed\n")
        return _INTERRUPTED


def _play(stage: _Stage, folder: Path, image_mib: int, began: float) -> None:
    view, world = stage.view, stage.world
    view.chapter(
        "A device leaves the factory",
        f"{SERIAL} holds its IDevID, the manufacturer's anchor and the address of one server whose "
        "certificate it can't verify. It has never heard of its owner.",
    )
    device = world.make_device(SERIAL)
    world.serve(device)
    first = stage.run(device, "run")
    view.explains = False
    image = stage.expect(
        first,
        _REBOOT,
        f"a {image_mib} MiB image was received, hashed and written at once, found to be the one "
        "the owner signed for, and is in the spare slot; the device asks for a reboot",
        "the image was not installed",
    )
    second = None
    if image:
        view.chapter(
            "It reboots into the new image",
            "Nothing of the plan was kept: it asks again, and passes the image step now.",
        )
        second = stage.run(device, "run")
        stage.expect(
            second,
            _OK,
            f"onboarded: runs {' '.join(WANTED_OS)}, scripts ran, configuration is in place, the "
            "owner's server has its final report",
            "it did not finish",
        )
        _again(stage, device)
        _reprovisioned(stage, device)
    _attacks(stage)
    _summary(stage, folder, first, second, began)


def _again(stage: _Stage, device: Device) -> None:
    stage.view.chapter("Once more", "The same device starts the agent at its next boot.")
    before = stage.asked()
    run = stage.run(device, "run")
    quiet = stage.asked() == before
    if stage.expect(run, _OK, "nothing to do", "it should have had nothing to do") and not quiet:
        stage.wrong.append(1)
    stage.view.verdict(
        "no server heard of it" if quiet else "but a server was asked something", good=quiet
    )


def _reprovisioned(stage: _Stage, device: Device) -> None:
    stage.view.chapter(
        "Reprovisioned",
        "The operator forgets progress and configuration; the owner and the image stay.",
    )
    run = stage.run(device, "reprovision")
    gone = not device.running_config.exists()
    stage.expect(run, _OK, "progress and configuration are gone", "it could not be reset")
    before = stage.downloads()
    run = stage.run(device, "run")
    skipped = stage.downloads() == before
    stage.expect(run, _OK, "onboarded again", "it did not finish")
    stage.view.verdict(
        "the image was already the right one: nothing was downloaded"
        if skipped
        else "the image was downloaded again",
        good=skipped,
    )
    if not skipped or not gone:
        stage.wrong.append(1)


def _attacks(stage: _Stage) -> None:
    view, world = stage.view, stage.world
    attacks = (
        (
            "Attack: a forged voucher",
            "Somebody who calls himself the manufacturer signs a voucher for this device.",
            "XPU-DEMO-0002",
            {"voucher_signer": forged_voucher_signer()},
            _UNTRUSTED,
        ),
        (
            "Attack: another device's voucher",
            f"A genuine voucher, but for {OTHER_SERIAL}.",
            "XPU-DEMO-0003",
            {"voucher_for": OTHER_SERIAL},
            _UNTRUSTED,
        ),
        (
            "Attack: a tampered image",
            "All is genuine, but the file server has other octets than the owner signed for.",
            "XPU-DEMO-0004",
            {"image_path": TAMPERED_PATH},
            _FAILED,
        ),
    )
    for title, explained, serial, how, status in attacks:
        view.chapter(title, explained)
        device = world.make_device(serial)
        world.serve(device, **how)
        run = stage.run(device, "run")
        untouched = not device.running_config.exists() and not (device.slots / "b").exists()
        stage.expect(
            run,
            status,
            f"refused: {run.outcome.get('reason')}; the device is as it was",
            "it was not refused as it should be",
        )
        if not untouched:
            view.verdict("something was left on the device", good=False)
            stage.wrong.append(1)


def _summary(stage: _Stage, folder: Path, first: Run, second: Run | None, began: float) -> None:
    view, world = stage.view, stage.world
    view.chapter("Summary")
    reports = [t.value for t in world.owner.progress(SERIAL)]
    asked = len(world.first.requests(Operation.GET_BOOTSTRAPPING_DATA))
    reported = len(world.first.requests(Operation.REPORT_PROGRESS))
    if second is not None:
        view.say(
            f"{SERIAL} came from its factory knowing nobody but its manufacturer, and belongs to "
            f"{world.pki.owner_name} now. The first server was asked {asked} times and told "
            f"{reported} things; the owner's got {len(reports)} reports, the last one "
            f"{reports[-1] if reports else 'none'}."
        )
    wrong = [v for s in (world.first, world.owner) for v in s.violations]
    view.say(
        f"Requests the servers found fault with: {len(wrong)}. The agent's process with the image "
        f"took {first.usage.wall_seconds:.1f} s, {first.usage.cpu_seconds:.1f} s of it computing, "
        f"and {first.usage.peak_mib:.0f} MiB at its peak."
    )
    view.say(f"Look around in {os.path.relpath(folder)}: devices/{SERIAL}/device is the device.")
    view.say()
    if stage.wrong:
        view.verdict("not everything went as it should; see above", good=False)
    else:
        view.verdict(
            f"everything went as it should, in {time.monotonic() - began:.0f} s", good=True
        )
