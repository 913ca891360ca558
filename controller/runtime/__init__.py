"""What every part runs on: queue, loop, threads, retry, files, log, metrics. It knows nothing of pods."""
