# What the controller of the node web1 needs where ACLs deny by default, with the default configuration:
# podpulse acl-policy --node web1. Your own: podpulse acl-policy --config FILE.

key_prefix "intent/web1/" { policy = "read" }  # the manifests
key_prefix "health/" { policy = "write" }      # the health of pods, as p2 reads it
session "web1" { policy = "write" }            # holds what is published, so that it does not outlive its publisher
service "podpulse" { policy = "write" }        # registers the controller, so that Prometheus finds it
