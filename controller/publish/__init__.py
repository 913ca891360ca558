"""Where health goes: Consul's KV store, the local Consul agent, both, or a folder of JSON files. Nobody else knows."""
