"""The decisions of Podpulse, as pure functions and values.

This package opens no socket, reads no clock, starts no thread, counts no metric and writes no log line. The package
`controller` does all of this, and passes the time and the answers in. import-linter checks that `controller` imports
this package, and never the reverse.

The steps of the data, and their modules::

    Consul KV intent/<node>/<pod>
       | blocking query                                  thread "watch"     controller/intent/
       v
    Listing(index, {PodKey: Entry(version, bytes)})
       | gate: which removals does it justify?                              reconcilers/gate.py
       v
    ManifestStore.replace    parses only changed bytes; an invalid version  intent/manifest_store.py, manifest.py
       |                     keeps the last good manifest                   options.py, fields.py, yamltext.py
       v  PodKeys that changed
    WorkQueue "checks" -> ControlLoop -> CheckReconciler thread "reconcile" reconcilers/checks.py, diff.py
       |    stop first and wait until stopped, then start
       v
    ProbeEngine: schedule -> libcurl -> ProbeResult      thread "probe"     controller/probes/, target_guard.py
       v
    HealthStore.observe: Assessment.after(result)                           controller/health/store.py, health.py
       |    not yet in reality? it is being deployed     thread "reality"   intent/deployments.py, deployment.py
       |    all checks fail at once? the canary probes   thread "canary"    controller/health/canary.py, isolation.py
       v  PodKeys whose health changed
       |    for each place (kv, agent, folder), independently:
       v
    WorkQueue "publication-kv" -> ControlLoop -> HealthReconciler
       |    collects changes for some milliseconds       thread             reconcilers/publication.py, record.py
       |    desired = local health; does the pod flap?   "publish-kv"       controller/publish/desired.py, damping.py
       |    is an unpublished state proven?                                 reconcilers/evidence.py
       v
    HealthSink: transactions of up to 64 operations -> Consul's KV,         controller/publish/
                services of the local agent, or a folder

    State that a run adopts from the run before          thread "state"     controller/health/, adoption.py
    Reload of the configuration and of changed files     thread "reload"    controller/reload.py, certificate_files.py
    The SHA that p2 computes of a manifest, signed or not                   reconcilers/p2/manifest.py, goyaml.py
    The sentence that says why a pod is in its state                        reconcilers/explanation.py
    Metrics and the page read the stores on request      thread "web"       controller/web/exposition.py, runtime/
    The choice between Consul and folders, and the wiring                   controller/wiring.py, app.py
"""
