"""``pushy-agent import-config``: the original's ``push-jobs-client.rb`` made into the agent's settings."""
