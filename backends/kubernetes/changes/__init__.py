"""Plans for workloads: what is changed, what belongs to it, who would undo it, and the rollout that follows."""
