"""Publishes health to Consul's KV store, the local Consul agent, both, or a folder of JSON files."""
