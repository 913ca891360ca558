"""Reads manifests from Consul's KV store or from a folder of YAML files. Other packages do not know which."""
