"""The audit as a whole: what it returns, prints and exits with."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

import epitaxy as ep
from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.exchange import write_parquet
from epitaxy.crystals.targets import Target
from epitaxy.datasets.bundled import bundled
from epitaxy.errors import InputError


@pytest.fixture(scope="module")
def crystals() -> Crystals:
    return bundled()[:200]


def test_the_bundled_crystals_have_no_errors(crystals):
    found = ep.audit(crystals)
    assert not found.of("error")
    assert not found.of("warning")
    assert found.exit_code() == 0
    assert "0 errors" in str(found)
    assert any("formation_energy_per_atom: predicted" in line for line in found.checked)


def test_an_error_ends_with_one_and_says_what_to_do(crystals, tmp_path):
    modulus = crystals.target("bulk_modulus")
    wrong = crystals.with_targets({"bulk_modulus": modulus.with_values(10 * modulus.values)})
    found = ep.audit(wrong)
    assert found.exit_code() == 1
    assert found.findings[0].severity == "error"
    path = tmp_path / "moduli.parquet"
    write_parquet(wrong, path)
    command = [sys.executable, "-m", "epitaxy.cli", "audit", str(path)]
    printed = subprocess.run(
        [*command, "--json", str(tmp_path / "found.json")], capture_output=True, text=True
    )
    assert printed.returncode == 1
    assert "in kbar" in " ".join(printed.stdout.split())
    assert max(map(len, printed.stdout.splitlines())) <= 80
    stored = json.loads((tmp_path / "found.json").read_text())
    assert [one["check"] for one in stored["findings"]] == [one.check for one in found.findings]


def test_warnings_end_with_one_only_where_they_are_to(crystals):
    again = replace(crystals[:1], ids=["again"])
    from epitaxy.crystals.crystals import cat

    found = ep.audit(cat([crystals, again]), target="bulk_modulus")
    assert [one.check for one in found.of("warning")] == ["duplicates"]
    assert (found.exit_code(), found.exit_code(strict=True)) == (0, 1)


def test_elements_that_training_lacks_are_named(crystals):
    oxygen = torch.zeros(len(crystals), dtype=torch.bool)
    oxygen[crystals.crystal_of_atom[crystals.numbers == 8]] = True
    found = ep.audit(crystals[~oxygen], target="bulk_modulus", test=crystals[oxygen])
    unseen = found.named("unseen elements")
    assert unseen[0].count == int(oxygen.sum())
    assert "O" in unseen[0].what.rsplit(":", 1)[1]


def test_a_test_set_in_another_unit_is_found(crystals):
    modulus = crystals.target("bulk_modulus")
    test = crystals[120:].with_targets(
        {"bulk_modulus": Target(10 * modulus.values[120:], unit="GPa")}
    )
    found = ep.audit(crystals[:120], target="bulk_modulus", test=test)
    assert any(one.what.startswith("in the test data") for one in found.named("unit"))


def test_a_stated_unit_is_converted_to_or_believed(crystals):
    modulus = crystals.target("bulk_modulus")
    plain = crystals.with_targets({"bulk_modulus": replace(modulus, unit="")})
    assert ep.audit(crystals, target="bulk_modulus[kbar]").exit_code() == 0
    assert ep.audit(plain, target="bulk_modulus[GPa]").exit_code() == 0
    assert ep.audit(plain, target="bulk_modulus[MPa]").exit_code() == 1


def test_a_target_that_is_not_there_is_an_input_error(crystals):
    with pytest.raises(InputError, match="bulk_modulus"):
        ep.audit(crystals, target="bulk_moduls")


def test_the_order_of_findings_is_by_severity_and_runs_repeat(crystals):
    modulus = crystals.target("bulk_modulus")
    wrong = crystals.with_targets({"bulk_modulus": modulus.with_values(-modulus.values)})
    first, second = ep.audit(wrong), ep.audit(wrong)
    assert first == second
    severities = [one.severity for one in first.findings]
    assert severities == sorted(severities, key=["error", "warning", "note"].index)
