"""Where manifests come from and where health goes, built from the configuration."""
