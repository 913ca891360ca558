# The rights that the controller of the node web1 needs if ACLs deny by default, with the default configuration. The command
# `podpulse acl-policy --node web1` prints the same. For another configuration: podpulse acl-policy --config FILE.

key_prefix "intent/web1/" { policy = "read" }  # the manifests
key_prefix "health/" { policy = "write" }      # the health records of the pods
session "web1" { policy = "write" }            # deletes the health records when the controller dies
service "podpulse" { policy = "write" }        # registers the controller for Prometheus
