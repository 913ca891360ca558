"""Grafana's dashboards about Podpulse, written as a program, so that Grafana's own SDK checks their schema.

    python -m deploy.grafana.build        writes dashboards/*.json anew

`overview` asks whether anything is wrong, and with which pods and nodes; `pod` tells the history of one pod;
`controllers` shows how the controllers themselves are. `panels` holds the kinds of panel, `look` their colours and
limits, `links` where they lead, `variables` what the reader chooses. What asks about the whole fleet asks for recorded
series (deploy/prometheus/rules), and every table is cut: a fleet has more pods than a browser can show.
"""
