"""What the agent says about itself besides its status: structured logs and Prometheus metrics."""
