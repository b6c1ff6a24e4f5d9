# SPDX-License-Identifier: Apache-2.0
"""The ledger's counts against counts by hand: blocks that fit, machine code read, kernels executed."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from asl_fast import RaggedTargets
from benchmarks import record
from benchmarks.prediction import binaries, execution, verdicts
from benchmarks.prediction.classes import cycles, family, product
from benchmarks.prediction.devices import DEVICES
from benchmarks.prediction.machine import Machine, Place
from benchmarks.prediction.model import makespan
from benchmarks.prediction.occupancy import occupancy
from benchmarks.prediction.rounds import rounds_of_blocks
from benchmarks.prediction.sass import innermost, loops, parse
from benchmarks.prediction.semantics import build
from benchmarks.prediction.stand_in import comparable, plain_name
from benchmarks.prediction.targets import Call, targets_of
from benchmarks.registry import Case

ROOT = Path(__file__).resolve().parents[1]
H100, A100 = DEVICES["sm_90"], DEVICES["sm_80"]

LISTING = """
		Function : toy
        /*0000*/                   S2R R0, SR_TID.X ;                            /* 0x0000000000007919 */
                                                                                 /* 0x000ea20000002100 */
        /*0010*/              @!P1 LDG.E.128 R16, desc[UR8][R2.64+0x8] ;         /* 0x0000000802109981 */
                                                                                 /* 0x000ea2000c1e1900 */
        /*0020*/                   FADD R7, R16, R7 ;                            /* 0x0000000710077221 */
                                                                                 /* 0x004fe20000000000 */
        /*0030*/              @!P0 BRA 0x10 ;                                    /* 0xfffffffc00488947 */
                                                                                 /* 0x000fea000383ffff */
        /*0040*/                   EXIT ;                                        /* 0x000000000000794d */
                                                                                 /* 0x000fea0003800000 */
        /*0050*/                   BRA 0x50;                                     /* 0xfffffffc00fc7947 */
                                                                                 /* 0x000fc0000383ffff */
        /*0060*/                   NOP;                                          /* 0x0000000000007918 */
                                                                                 /* 0x000fc00000000000 */
"""


# A loop of 3,000 rounds that is left in its middle, and whose last branch has no condition; within, one of 500 rounds.
NESTED = """
		Function : nested
        /*0000*/                   MOV R0, RZ ;                                  /* 0x0000000000007919 */
                                                                                 /* 0x000fe20000000000 */
        /*0010*/                   MOV R1, RZ ;                                  /* 0x0000000000007919 */
                                                                                 /* 0x000fe20000000000 */
        /*0020*/                   IADD3 R1, R1, 0x1, RZ ;                       /* 0x0000000000007919 */
                                                                                 /* 0x000fe20000000000 */
        /*0030*/                   ISETP.GE.AND P1, PT, R1, 0x1f4, PT ;          /* 0x0000000000007919 */
                                                                                 /* 0x000fe20000000000 */
        /*0040*/              @!P1 BRA 0x20 ;                                    /* 0x0000000000007919 */
                                                                                 /* 0x000fe20000000000 */
        /*0050*/                   IADD3 R0, R0, 0x1, RZ ;                       /* 0x0000000000007919 */
                                                                                 /* 0x000fe20000000000 */
        /*0060*/                   ISETP.GE.AND P0, PT, R0, 0xbb8, PT ;          /* 0x0000000000007919 */
                                                                                 /* 0x000fe20000000000 */
        /*0070*/               @P0 EXIT ;                                        /* 0x0000000000007919 */
                                                                                 /* 0x000fe20000000000 */
        /*0080*/                   BRA 0x10 ;                                    /* 0x0000000000007919 */
                                                                                 /* 0x000fe20000000000 */
"""


def test_rounds_are_skipped_of_a_loop_that_is_left_in_its_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(
        block=(0, 0, 0), thread=0, grid=(1, 1, 1), threads=32, parameters=b"", first_parameter=0, memory=(), atomic=0
    )
    steps: list[int] = []
    whole_run = execution._Warp.run

    def run(warp: Any, at: int, stop: int = -1) -> int:
        result = whole_run(warp, at, stop)
        steps.append(warp.taken)
        return result

    monkeypatch.setattr(execution._Warp, "run", run)
    counted = execution.execute(parse(NESTED)["nested"], place, {}, execution.Latencies())
    assert counted.counts == [1, 3000, *([1_500_000] * 3), *([3000] * 3), 2999] and not counted.assumed
    assert max(steps) < 100_000  # of 4.5 million
    # With every round executed, of a loop that is short enough for it.
    code = parse(NESTED.replace("0xbb8", "0x14"))["nested"]
    short = execution.execute(code, place, {}, execution.Latencies())
    monkeypatch.setattr(execution._Warp, "_round", lambda *arguments: None)
    all_rounds = execution.execute(code, place, {}, execution.Latencies())
    assert short.counts == all_rounds.counts and short.cycles == pytest.approx(all_rounds.cycles)


@pytest.mark.parametrize(
    ("device", "threads", "registers", "shared", "blocks", "limit"),
    [
        # 54 registers: 1,792 a warp, 36 warps of 65,536, 9 blocks of 4.
        (H100, 128, 54, 2048, 9, "registers"),
        # 64 warps are all that a multiprocessor takes.
        (H100, 1024, 32, 0, 2, "warps"),
        # 255 registers: 8,192 a warp, 8 warps.
        (H100, 256, 255, 0, 1, "registers"),
        # 33 registers are given as 40: 1,280 a warp, 51 warps, of which 48 make blocks of 8.
        (H100, 256, 33, 0, 6, "registers"),
        # 100 KiB and the system's one: two blocks of 228 KiB, one of 164.
        (H100, 128, 32, 100 << 10, 2, "shared memory"),
        (A100, 128, 32, 100 << 10, 1, "shared memory"),
        (H100, 32, 16, 0, 32, "blocks"),
    ],
)
def test_occupancy(device: Any, threads: int, registers: int, shared: int, blocks: int, limit: str) -> None:
    assert occupancy(device, threads, registers, shared) == (blocks, limit)


def test_a_listing_is_read() -> None:
    code = parse(LISTING)["toy"]
    assert [one.opcode for one in code] == ["S2R", "LDG.E.128", "FADD", "BRA", "EXIT"]
    load, add, branch = code[1:4]
    assert load.guard == "!P1" and load.operands == ("R16", "desc[UR8][R2.64+0x8]")
    assert (load.sets, load.waits) == (2, 0) and (add.waits, add.stall) == (1 << 2, 1)
    assert branch.target == 0x10
    assert [(loop.first, loop.last) for loop in innermost(loops(code))] == [(1, 3)]
    assert [family(one) for one in code] == ["constant", "LDG", "FFMA", "branch", "branch"]
    assert cycles(load) == {"LSU": 16} and cycles(add) == {"FFMA": 1}


def test_tensor_core_products_are_counted() -> None:
    line = LISTING.replace("FADD R7, R16, R7", "HGMMA.64x128x16.F32.BF16 R24, gdesc[UR4], R24")
    assert product(parse(line)["toy"][2]) == (2 * 64 * 128 * 16 / 4, "half")
    line = LISTING.replace("FADD R7, R16, R7", "HMMA.1688.F32.TF32 R24, R4, R8, R24")
    assert product(parse(line)["toy"][2]) == (2 * 16 * 8 * 8, "tf32")


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run Python outside of Triton's interpreter, for kernels that are compiled."""
    if importlib.util.find_spec("triton") is None or binaries.cuobjdump() is None:
        pytest.skip("needs triton with its cuobjdump")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def toys() -> list[dict[str, Any]]:
    done = run("-m", "tests.kernels.ledger_toys")
    assert done.returncode == 0, done.stderr[-4000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [toy["problem"] for toy in found] == [None] * 6
    return found


def test_a_kernel_without_loops_is_counted_as_by_hand(toys: list[dict[str, Any]]) -> None:
    for toy in toys[:2]:
        # 1,024 elements a block, 8 a thread: two 16-byte loads of x, two of y, two stores and 8 multiply-adds a warp.
        warps = 4 * 1024
        assert toy["kernel"] == "multiply_add_kernel" and toy["programs"] == 1024
        assert {name: toy["by_class"][name] for name in ("LDG", "STG", "FFMA")} == {
            "LDG": 4 * warps,
            "STG": 2 * warps,
            "FFMA": 8 * warps,
        }
        assert toy["bytes"] == 12 << 20 and toy["spilled"] == 0 and toy["shared"] == 0 and toy["assumed"] == 0
        device = DEVICES[toy["target"]]
        assert toy["bound"] == "bytes" and toy["times"]["bytes"] == pytest.approx((12 << 20) / device.copy_bytes)
        assert toy["blocks"] == occupancy(device, 128, toy["registers"], 0).blocks


def test_a_loop_is_counted_as_by_hand(toys: list[dict[str, Any]]) -> None:
    for toy, rounds in zip(toys[2:4], (3, 9766), strict=True):
        # 1,024 elements a round, 8 a thread, each loaded by itself, as the end may lie anywhere, and added.
        assert toy["kernel"] == "add_up_kernel" and toy["by_class"]["LDG"] == 4 * 8 * rounds
        # Then each thread adds its 8, and the lanes of each warp theirs in 5 steps; the first warp the 4 warps' in 2.
        inside, across = 4 * (8 * rounds + 7), 4 * 5
        assert inside + across <= toy["by_class"]["FFMA"] <= inside + across + 4 * 2
        assert toy["assumed"] == 0


def test_rounds_that_memory_states_are_counted_and_others_assumed(toys: list[dict[str, Any]]) -> None:
    pytest.importorskip("triton", minversion="3.5", reason="the oldest that the kernels take; others compile loops so")
    known, unknown = toys[4:6]
    # 512 elements a round, 4 a thread: one 16-byte load a warp, in 4 warps of 2 blocks, and one of the bound; and what
    # the compiler adds to each loop, a first round under a guard that is false here.
    assert known["by_class"]["LDG"] == 8 * (3000 * (1000 + 1) + 1) and known["assumed"] == 0
    assert unknown["assumed"] > 0 and unknown["by_class"]["LDG"] < known["by_class"]["LDG"]


def test_the_command_predicts_and_sets_measurements_beside_it(tmp_path: Path) -> None:
    made, measured = tmp_path / "made.json", tmp_path / "measured.json"
    results = [{"op": "diou_loss", "case": "small: 300 rows", "kernel_sec": 1e-5}]
    measured.write_text(json.dumps({"schema": record.SCHEMA, "results": results}))
    wanted = ("--op", "diou_loss", "--case", "small", "--json", str(made), "--measured", str(measured))
    done = run("benchmarks/ledger.py", *wanted)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "PREDICTED for H100" in done.stdout and "measured kernels 10.0 us" in done.stdout
    content = json.loads(made.read_text())
    (row,) = content["rows"]
    assert content["predicted"] is True and content["failed"] == [] and row["predicted"] is True
    assert row["measured_ratio"] == pytest.approx(1e-5 / row["kernel_sec"])
    ours = [launch for launch in row["launches"] if launch["by"] != "torch"]
    theirs = [launch for launch in row["launches"] if launch["by"] == "torch"]
    assert ours and all(launch["registers"] > 0 and launch["seconds"] > 0 for launch in ours)
    # The derivative is scaled by the gradient of the loss, which comes from outside: a product of ops/diou_loss.py.
    assert {launch["where"].partition(" < ")[0] for launch in theirs} <= {"", "leaf", "ops/diou_loss.py"}
    assert row["total_sec"] == pytest.approx(row["kernel_sec"] + 3e-6 * len(row["launches"]))


def test_the_command_refuses_what_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    ledger = pytest.importorskip("benchmarks.ledger", reason="needs triton", exc_type=ImportError)
    assert ledger.main(["--op", "diou_los"]) == 2
    assert "did you mean diou_loss?" in capsys.readouterr().err
    assert ledger.main(["--target", "sm_70"]) == 2
    assert "no target 'sm_70'; there are sm_90, sm_80" in capsys.readouterr().err


def test_predicates_that_wait_in_a_register_are_followed() -> None:
    code = parse(LISTING)["toy"][0]
    place = Place(
        block=(0, 0, 0), thread=0, grid=(1, 1, 1), threads=32, parameters=b"", first_parameter=0, memory=(), atomic=0
    )
    machine = Machine(place, {})
    machine.files["P"][:7] = [1, 0, 1, None, 0, 1, 1]
    for operands, expected in (
        (("R4", "PR", "RZ", "0x27"), 0b100101),
        (("R4", "PR", "RZ", "0x8"), None),  # of which one is not known
        (("R4", "PR", "R5", "0x1"), None),  # into a word that is not followed
    ):
        machine.files["R"][4] = 77
        build(machine, code._replace(opcode="P2R", operands=operands))()
        assert machine.files["R"][4] == expected


def test_targets_leave_out_the_evaluator_and_say_whether_they_are_met() -> None:
    case = Case("asl, thumos14: x", tuple, len, bytes_moved=3_000_000)
    torch_row = {"by": "torch", "seconds": 1e-3, "launches": 1}
    rows = [
        {"by": "triton", "seconds": 70e-6, "least_sec": 60e-6, "waves": 1.5},
        {**torch_row, "where": "losses/sensitivity.py:InstanceEvaluator"},
        {**torch_row, "where": ""},
        {**torch_row, "where": "leaf"},
        {"by": "torch", "seconds": 5e-6, "where": "losses/asl_loss.py:ASLLoss"},
    ]
    call = Call(case, rows)
    assert len(call.loss().launches) == 2 and call.loss().kernel_sec == pytest.approx(75e-6)
    assert call.total_sec == pytest.approx(3.075e-3 + 5 * 3e-6)
    lines = [target.line(call, H100) for target in targets_of("training_losses", case.name)]
    assert [line.rpartition(" ")[2] for line in lines] == ["met", "met"]
    assert lines[1].endswith("predicted 65 to 75, met") and call.least().kernel_sec == pytest.approx(3.065e-3)
    slower = Call(case, [{**rows[0], "seconds": 100e-6}])
    assert (
        targets_of("training_losses", case.name)[1]
        .line(slower, H100)
        .endswith("predicted 60 to 100, OPEN, data decides")
    )
    stuck = Call(case, [{**rows[0], "kernel": "endless", "problem": "3000000 instructions executed"}])
    assert targets_of("training_losses", case.name)[1].line(stuck, H100).endswith("not predicted, endless not counted")
    assert targets_of("segment_iou", "segment_iou 16,000 and 8,000, backward") == []
    (target,) = targets_of("segment_iou", "segment_iou 16,000 and 8,000")
    assert target.line(Call(case, [{"by": "cuda", "seconds": 1.4e-6}]), H100).endswith("predicted 1.4, MISSED")


def test_kernels_of_both_compilers_have_one_name() -> None:
    host = "_ZN3asl4cuda12_GLOBAL__N_116diou_loss_kernelIfEEvNS1_4DiouEPT_S5_Pj"
    device = "_ZN3asl4cuda45_GLOBAL__N__a6e57e8b_12_diou_loss_cu_fe2decf816diou_loss_kernelIfEEvNS1_4DiouEPT_S5_Pj"
    assert comparable(host) == comparable(device) and plain_name(comparable(host)) == "diou_loss_kernel"
    assert comparable("_ZN3asl4cuda10nms_selectEv") == "_ZN3asl4cuda10nms_selectEv"


def test_blocks_start_in_their_order_and_the_last_to_end_decides() -> None:
    assert makespan([(3, 10.0)], 4) == 10.0 and makespan([(8, 10.0)], 4) == 20.0
    # One long block beside many short ones: first, it is over with them; last, it begins when they end.
    assert makespan([(1, 40.0), (12, 10.0)], 4) == 40.0
    assert makespan([(12, 10.0), (1, 40.0)], 4) == 70.0
    assert makespan([(1 << 20, 1.0)], 1 << 10) == (1 << 10) + 1  # too many to look at each


def test_the_ground_truth_says_how_many_rounds_a_block_takes() -> None:
    # Two videos of 40 frames: an instance on 10 to 20 with background from 8 to 22, one on 0 to 39; one on 30.2 to 31.
    segments = torch.tensor([[10.0, 20.0], [0.0, 39.0], [30.2, 31.0]])
    truth = RaggedTargets(segments, torch.tensor([0, 1, 0]), torch.tensor([0, 2, 3]))
    pool = {"frames": 40, "batch": 2, "room": 4, "BLOCK_T": 8}
    # 15 frames, 40, and only the 31st; and one instance is padding.
    assert rounds_of_blocks("pool_kernel", pool, truth) == [2, 5, 1, 0]
    gather = {**pool, "instances": 4, "grad_features_ptr": object(), "channels": 20, "SLICE": 16, "FRAMES": 32}
    # 11 frames, 40, 1; then each block of frames for each of two slices: the second video has nothing behind the 32nd.
    assert rounds_of_blocks("input_gradient_kernel", gather, truth) == [2, 5, 1, 0, 1, 1, 1, 1, 1, 1, 0, 0]
    assert rounds_of_blocks("input_gradient_kernel", {**gather, "grad_features_ptr": None}, truth) == [2, 5, 1, 0]
    assert rounds_of_blocks("pool_kernel", pool, None) is None and rounds_of_blocks("other", pool, truth) is None


def test_predictions_of_the_same_sources_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "KEPT", tmp_path / "kept")
    asked: list[str] = []

    def predict() -> dict[str, Any]:
        asked.append("again")
        launch = {"kernel": "wide", "spilled_bytes": 8}
        return {"device": "A100", "op": "op", "case": "x", "launches": [launch], "total_sec": 4e-6, "targets": []}

    rows = [verdicts.kept("op", case, "sm_80", predict) for case in ("x", "x", "y")]
    assert len(asked) == 2 and rows[0] == rows[1]
    monkeypatch.setattr(verdicts, "digest", lambda: "other sources")
    assert verdicts.kept("op", "x", "sm_80", predict) == rows[0] and len(asked) == 3
    lines = verdicts.table(rows[:1]).splitlines()
    assert lines[-2].endswith("1 launches, 4.0 us with them; no target on this device")
    assert lines[-1].endswith("wide SPILLS 8 bytes")
    here, without = Case("large: 1,000,000 rows", tuple, len), Case("small", tuple, len)
    assert verdicts.with_targets({"diou_loss": [here, without], "assign_points": [here]}) == {"diou_loss": [here]}
