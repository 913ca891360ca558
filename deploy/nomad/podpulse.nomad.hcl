# Runs a controller on every node of a Nomad cluster, from the image of deploy/Dockerfile. Each node runs a Consul agent.
#
#   nomad job run -var image=REGISTRY/podpulse:TAG deploy/nomad/podpulse.nomad.hcl
#
# Needs Nomad 1.5 or newer.
#
# If ACLs deny by default, one token serves all nodes (podpulse acl-policy --any-node). Store it in a Nomad variable that only
# this job can read:
#
#   nomad var put nomad/jobs/podpulse consul_token=...

variable "image" {
  type        = string
  description = "The image, with its tag or digest."
}

variable "datacenters" {
  type    = list(string)
  default = ["*"]
}

job "podpulse" {
  datacenters = var.datacenters
  type        = "system"

  # One node at a time, so that a fault of a new version affects only the first node.
  update {
    max_parallel = 1
    stagger      = "30s"
  }

  group "controller" {
    network {
      mode = "host"
      port "http" {
        static = 9815
      }
    }

    # The Consul session and the check counts are kept in the allocation's folder, and survive the container.
    ephemeral_disk {
      sticky = true
    }

    # Nomad restarts the task without a limit, because most obstacles are temporary, such as a Consul that starts later.
    restart {
      attempts = 3
      interval = "1m"
      delay    = "5s"
      mode     = "delay"
    }

    # A service of Nomad, for this check. The controller registers itself in Consul.
    service {
      name     = "podpulse"
      provider = "nomad"
      port     = "http"

      # /-/healthy answers 503 if a thread hangs. /-/ready is not used, because an unreachable Consul is no reason for a
      # restart. Requests from this host need no password. If `web_config_file` has a certificate, add
      # `protocol = "https"` and `tls_skip_verify = true`.
      check {
        type     = "http"
        path     = "/-/healthy"
        interval = "10s"
        timeout  = "3s"

        check_restart {
          limit = 3
          grace = "30s"
        }
      }
    }

    task "podpulse" {
      driver       = "docker"
      kill_timeout = "10s"

      config {
        image        = var.image
        network_mode = "host"
        args         = ["run", "--config", "/local/config.yaml"]
        cap_drop     = ["all"]

        # The image has a health check, `podpulse healthy`, which uses the arguments of process 1. `docker ps` shows its result.

        ulimit {
          nofile = "65536"
        }
      }

      # Only options that differ from deploy/config.example.yaml. Schedule the pods of a node under the `node_name` set here.
      template {
        destination = "local/config.yaml"
        data        = <<-END
          node_name: {{ env "node.unique.name" }}
          address: catalog
          listen: {{ env "NOMAD_ADDR_http" }}
          state_dir: /alloc/data
          consul:
            address: 127.0.0.1:8500
            {{- if nomadVarExists "nomad/jobs/podpulse" }}
            token_file: /secrets/consul-token
            {{- end }}
        END
      }

      # The controller reloads the file when it changes.
      template {
        destination = "secrets/consul-token"
        change_mode = "noop"
        perms       = "0444"
        data        = <<-END
          {{ if nomadVarExists "nomad/jobs/podpulse" }}{{ with nomadVar "nomad/jobs/podpulse" }}{{ .consul_token }}{{ end }}{{ end }}
        END
      }

      # With 10,000 checks, the controller took 140 MB and a third of a core.
      resources {
        cpu        = 500
        memory     = 192
        memory_max = 384
      }
    }
  }
}
