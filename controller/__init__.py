"""What Podpulse does: every socket, thread, timer, metric and log line. The decisions are made in `reconcilers`."""
