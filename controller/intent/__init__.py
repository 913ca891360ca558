"""Where manifests come from: Consul's KV store, or a folder of YAML files. Nobody else knows which."""
