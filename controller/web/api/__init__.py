"""The API below `/api/v1/`: what the pages show, as JSON. It changes nothing."""
