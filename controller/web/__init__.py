"""What the controller shows over HTTP: metrics, its own health, and a page about the pods. It changes nothing."""
