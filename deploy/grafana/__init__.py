"""The source of Grafana's dashboards about Podpulse. It is a program, so that Grafana's SDK checks the schema.

    python -m deploy.grafana.build        writes dashboards/*.json

`overview` shows whether anything is wrong, and with which pods and nodes. `pod` shows the history of one pod.
`controllers` shows the state of the controllers. `panels` has the kinds of panel, `look` their colours and limits,
`links` their links, and `variables` the choices of the reader. Queries about the whole fleet use recorded series
(deploy/prometheus/rules). Every table has a limited number of rows, because a browser cannot show all pods of a fleet.
"""
