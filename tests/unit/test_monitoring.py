"""Rules and dashboard: they parse, ask for what is exported, and every alert has been heard."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from bus import metric, metrics
from bus.metric import Counter
from services.observer import dashboard

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = sorted((PROMETHEUS / "rules").glob("*.yml"))
TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
NO_PROMTOOL = 69
"""Exit status of promtool.sh where there is none."""

SERIES = frozenset().union(*(metric.series(m) for m in metrics.ALL))


def promtool(*arguments: str, cwd: Path = PROMETHEUS) -> str:
    """Run promtool, or skip, saying so: `make promtest` fetches it."""
    ran = subprocess.run(
        [str(PROMETHEUS / "promtool.sh"), *arguments],
        env={"PROMTOOL_FETCH": "0", **os.environ},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode == NO_PROMTOOL:
        pytest.skip("NOT CHECKED: promtool is missing; `make promtest` fetches it")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def rules() -> list[dict[str, object]]:
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def asked(expression: str) -> set[str]:
    """Return the names of our own series in an expression; `a:b:c` are recorded ones."""
    without_text = re.sub(r'"[^"]*"', "", expression)
    names = set(re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*", without_text))
    return {name for name in names if "adgenx" in name}


def test_every_alerts_and_recordings_series_is_exported_or_recorded() -> None:
    recorded = {str(rule["record"]) for rule in rules() if "record" in rule}
    for rule in rules():
        unknown = asked(str(rule["expr"])) - SERIES - recorded
        assert not unknown, (rule, unknown)


@pytest.mark.parametrize("rule", [r for r in rules() if "alert" in r], ids=lambda r: r["alert"])
def test_an_alert_says_how_bad_it_is_what_is_wrong_and_what_to_do(rule: dict[str, object]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")  # type: ignore[index]  # YAML
    assert set(rule["annotations"]) == {"summary", "action"}  # type: ignore[call-overload]  # YAML


@pytest.mark.parametrize("rule", [r for r in rules() if "alert" in r], ids=lambda r: r["alert"])
def test_an_alert_is_heard_and_is_silent_before_and_after(rule: dict[str, object]) -> None:
    fired, silent = 0, 0
    for path in TESTS:
        for case in yaml.safe_load(path.read_text())["tests"]:
            for look in case["promql_expr_test"]:
                pattern = re.search(r'alertname=~?"([^"]+)"', look["expr"])
                if pattern and re.fullmatch(pattern[1], str(rule["alert"])):
                    named = f'"{rule["alert"]}"'
                    fired += any(named in sample["labels"] for sample in look["exp_samples"])
                    silent += not look["exp_samples"]
    assert fired >= 1
    assert silent >= 2


def test_promtool_finds_the_rules_and_the_configuration_sound() -> None:
    promtool("check", "rules", *map(str, RULES))
    promtool("check", "config", "--syntax-only", "prometheus.yml")


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_alerts_fire_within_an_evaluation_stay_silent_below_and_clear(path: Path) -> None:
    promtool("test", "rules", path.name, cwd=path.parent)


def test_a_broken_alert_is_noticed(tmp_path: Path) -> None:
    shutil.copytree(PROMETHEUS, tmp_path / "prometheus")
    (rule,) = (tmp_path / "prometheus" / "rules").glob("*.yml")
    right = "adgenx_disk_used_ratio > 0.9"
    assert right in rule.read_text()
    rule.write_text(rule.read_text().replace(right, "adgenx_disk_used_ratio > 0.99"))
    promtool("check", "rules", *map(str, RULES))  # it is there, or this is skipped
    with pytest.raises(AssertionError, match="AdgenxDiskFull"):
        promtool("test", "rules", "space.yml", cwd=tmp_path / "prometheus" / "tests")


def expressions() -> list[str]:
    shown = [query for row in dashboard.rows() for panel in row.panels for query in panel.queries]
    return [query.expr for query in shown]


def test_the_dashboard_in_the_repository_is_what_the_builder_makes() -> None:
    assert dashboard.TARGET.read_text() == dashboard.text()


def test_the_dashboard_asks_only_for_what_is_exported_or_recorded() -> None:
    recorded = {str(rule["record"]) for rule in rules() if "record" in rule}
    for expression in expressions():
        unknown = asked(expression) - SERIES - recorded
        assert not unknown, expression


def test_the_dashboards_expressions_are_promql(tmp_path: Path) -> None:
    plain = [e.replace("$__rate_interval", "5m").replace("$provider", ".*") for e in expressions()]
    rules = [{"record": f"panel:number_{n}:shown", "expr": e} for n, e in enumerate(plain)]
    file = tmp_path / "dashboard.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", str(file))


def test_panels_lie_side_by_side_and_never_over_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(dashboard.text())["panels"]:
        at = panel["gridPos"]
        cells = {
            (at["x"] + column, at["y"] + line)
            for column in range(at["w"])
            for line in range(at["h"])
        }
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


@pytest.mark.parametrize("declared", metrics.ALL, ids=lambda m: m.name)
def test_a_metric_is_named_by_prometheuss_rules(declared: metric.Metric) -> None:
    assert re.fullmatch(r"adgenx_[a-z0-9]+(_[a-z0-9]+)*", declared.name)
    assert declared.name.endswith("_total") == isinstance(declared, Counter)
    assert declared.text.endswith(".")
    assert not {"service", "instance", "job", "host", "le"} & set(declared.labels)


def test_every_metric_has_a_name_of_its_own() -> None:
    assert len({m.name for m in metrics.ALL}) == len(metrics.ALL)


def test_the_documentation_lists_every_alert_with_its_severity() -> None:
    page = (ROOT / "docs" / "observability.md").read_text()
    for rule in (r for r in rules() if "alert" in r):
        (line,) = [x for x in page.splitlines() if x.startswith("|") and str(rule["alert"]) in x]
        assert str(rule["labels"]["severity"]) in line  # type: ignore[index]  # YAML
