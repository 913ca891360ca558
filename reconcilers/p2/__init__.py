"""What p2 would say of a manifest. Values in, values out."""
