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
    ManifestStore.replace    only changed bytes are parsed, bad ones keep   intent/manifest_store.py, manifest.py
       |                     the last good manifest                         options.py, fields.py, yamltext.py
       v  PodKeys that changed
    WorkQueue "checks" -> ControlLoop -> CheckReconciler thread "reconcile" reconcilers/checks.py, diff.py
       |    stop first and wait until stopped, then start
       v
    ProbeEngine: schedule -> libcurl -> ProbeResult      thread "probe"     controller/probes/, target_guard.py
       v
    HealthStore.observe: Assessment.after(result)                           controller/health/store.py, health.py
       |    not yet in reality? it is being deployed      thread "reality"   intent/deployments.py, deployment.py
       |    everything fails at once? ask the canary      thread "canary"    controller/health/canary.py, isolation.py
       v  PodKeys whose health changed
       |    for each place (kv, agent, folder), so that none waits for another:
       v
    WorkQueue "publication-kv" -> ControlLoop -> HealthReconciler
       |    changes are collected for some milliseconds  thread             reconcilers/publication.py, record.py
       |    desired = local health; does the pod flap?   "publish-kv"       controller/publish/desired.py, damping.py
       |    is it proven, where it does not stand?                            reconcilers/evidence.py
       v
    HealthSink: transactions of up to 64 operations -> Consul's KV,         controller/publish/
                services of the local agent, or a folder

    What a run takes over from the one before           thread "state"      controller/health/, adoption.py
    Another configuration; files that were replaced     thread "reload"     controller/reload.py, certificate_files.py
    What p2 would say of a manifest: its SHA, signed or not                 reconcilers/p2/manifest.py, goyaml.py
    Why a pod is in its state, in a sentence                                reconcilers/explanation.py
    Metrics and the page read the stores when asked      thread "web"       controller/web/exposition.py, runtime/
    Which of Consul and folders it is, and the wiring                       controller/wiring.py, app.py
"""
