"""What Podpulse decides: values in, decisions out.

Nothing in this package opens a socket, reads a clock, starts a thread, counts a metric or writes a log line; time and
answers are given from outside, by the package `controller`, which does all that. Imports go only that way, and
import-linter checks it.

The one-way path, and where each step stands::

    Consul KV intent/<node>/<pod>
       | blocking query                                 thread "watch"      controller/intent/
       v
    Listing(index, {PodKey: Entry(version, bytes)})
       | gate: what may it remove?                                          reconcilers/gate.py
       v
    ManifestStore.replace    only changed bytes are parsed, bad ones keep   controller/store.py
       |                     the last good manifest                         reconcilers/manifest.py
       v  PodKeys that changed
    WorkQueue "checks" -> ControlLoop -> CheckReconciler thread "reconcile" reconcilers/checks.py, diff.py
       |    stop first and wait until stopped, then start
       v
    ProbeEngine: schedule -> libcurl -> ProbeResult      thread "probe"     controller/probes/
       v
    HealthStore.observe: CheckHealth.after(result)                          reconcilers/health.py
       v  PodKeys whose health changed
    WorkQueue "publication" -> ControlLoop -> HealthReconciler
       |    changes are collected for some milliseconds  thread "publish"   reconcilers/publication.py, record.py
       v
    HealthSink: transactions of up to 64 operations -> Consul               controller/sink/

    Metrics and the page read the stores when asked      thread "web"       controller/metrics.py, controller/web/
"""
