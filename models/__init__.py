"""Networks, rollout, objectives, schedule and reference flow."""
