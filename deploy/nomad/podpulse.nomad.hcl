# A controller on every node of a Nomad cluster whose nodes run Consul agents, from the image of deploy/Dockerfile:
#
#   nomad job run -var image=REGISTRY/podpulse:TAG deploy/nomad/podpulse.nomad.hcl
#
# Where ACLs deny by default, one token serves all nodes (podpulse acl-policy --any-node), and stands in Nomad's variables,
# which only this job reads:
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

  # Node by node: what is wrong with a new version shows on the first one.
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

    # The Consul session and the counts of checks outlive the container in the allocation's folder.
    ephemeral_disk {
      sticky = true
    }

    # Never given up: what is in the way, as a Consul that comes up later, goes by itself.
    restart {
      attempts = 3
      interval = "1m"
      delay    = "5s"
      mode     = "delay"
    }

    # Nomad's own, for this check: Consul knows the controller by what it registers itself.
    service {
      name     = "podpulse"
      provider = "nomad"
      port     = "http"

      # 503 when a thread stands still. Not /-/ready: a Consul that does not answer is no reason to restart.
      # This host needs no password for it. Where `web_config_file` names a certificate, add `protocol = "https"` and
      # `tls_skip_verify = true`.
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

        # The image's own check is `podpulse healthy`, which asks as process 1 was started: `docker ps` shows its answer.

        ulimit {
          nofile = "65536"
        }
      }

      # Only what is not as in deploy/config.example.yaml. The pods of a node are scheduled under the name that it has here.
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

      # The controller sees by itself that the file has changed.
      template {
        destination = "secrets/consul-token"
        change_mode = "noop"
        perms       = "0444"
        data        = <<-END
          {{ if nomadVarExists "nomad/jobs/podpulse" }}{{ with nomadVar "nomad/jobs/podpulse" }}{{ .consul_token }}{{ end }}{{ end }}
        END
      }

      # 10,000 checks took 140 MB, and a third of a core.
      resources {
        cpu        = 500
        memory     = 192
        memory_max = 384
      }
    }
  }
}
