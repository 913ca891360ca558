"""Where health goes: Consul's KV store, or a folder of JSON files. Nobody else knows which."""
