#!/usr/bin/python3
"""Writes the dashboards of panels.py as Grafana's JSON, for Grafana 10 and later, to dashboards/.

generate.py --check writes nothing, and fails when a file there is not what would be written.
"""

import json
import pathlib
import sys

sys.dont_write_bytecode = True  # nothing appears beside the sources
from panels import DASHBOARDS  # noqa: E402

FOLDER = pathlib.Path(__file__).parent / "dashboards"
DATASOURCE = {"type": "prometheus", "uid": "ecom-prometheus"}  # provisioning/datasources
WIDTH, HEIGHT, COLUMNS = 24, 8, 3


def panel_json(panel, number, x, y):
    defaults = {"unit": panel.unit, "min": 0}
    if panel.limit is not None:
        defaults["custom"] = {"thresholdsStyle": {"mode": "line"}}
        defaults["thresholds"] = {"mode": "absolute", "steps": [{"color": "transparent", "value": None},
                                                                {"color": "red", "value": panel.limit}]}
    targets = [{"refId": chr(ord("A") + i), "expr": query, "legendFormat": name}
               for i, (name, query) in enumerate(panel.queries.items())]
    return {"id": number, "type": "timeseries", "title": panel.title, "description": panel.about,
            "datasource": DATASOURCE, "gridPos": {"x": x, "y": y, "w": WIDTH // COLUMNS, "h": HEIGHT},
            "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": {"tooltip": {"mode": "multi", "sort": "desc"}}, "targets": targets}


def panels_json(dashboard):
    panels, y = [], 0
    for row in dashboard.rows:
        panels.append({"id": len(panels) + 1, "type": "row", "title": row.title, "collapsed": False, "panels": [],
                       "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1}})
        y += 1
        for i, panel in enumerate(row.panels):
            place = i % COLUMNS * (WIDTH // COLUMNS), y + i // COLUMNS * HEIGHT
            panels.append(panel_json(panel, len(panels) + 1, *place))
        y += (len(row.panels) + COLUMNS - 1) // COLUMNS * HEIGHT
    return panels


def text_of(dashboard):
    """One line for each panel, so that a change is seen in a diff."""
    head = {"uid": f"ecom-{dashboard.name}", "title": f"ecom: {dashboard.title}", "tags": ["ecom"],
            "schemaVersion": 38, "editable": False, "refresh": "5s", "time": {"from": "now-30m", "to": "now"},
            "links": [{"type": "dashboards", "title": "ecom", "tags": ["ecom"], "keepTime": True}]}
    lines = ",\n".join("  " + json.dumps(panel) for panel in panels_json(dashboard))
    return f'{json.dumps(head)[:-1]}, "panels": [\n{lines}\n]}}\n'


def main():
    wrong = []
    for dashboard in DASHBOARDS:
        path = FOLDER / f"{dashboard.name}.json"
        text = text_of(dashboard)
        if "--check" not in sys.argv:
            FOLDER.mkdir(exist_ok=True)
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            wrong.append(path.name)
    if wrong:
        sys.exit(f"not what panels.py says: {', '.join(wrong)}; run compose/grafana/generate.py")


if __name__ == "__main__":
    main()
