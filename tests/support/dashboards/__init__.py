"""Pictures of the dashboards from a real run: `python -m tests.support.dashboards [FOLDER]`.

`scene` runs several controllers with a real Prometheus. `frames` sends it the queries of each panel and arranges the
answers in fields and rows. `shown` turns a value into a text and a colour. `panels` draws the panels as HTML and SVG,
by Grafana's rules as far as the dashboards use them, and `__main__` takes a picture of each dashboard with a browser.
"""
