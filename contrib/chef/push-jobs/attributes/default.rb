# Packages: by name from a repository, or by URL, pushy-common first.
default['push_jobs']['package_name'] = 'pushy-agent'
default['push_jobs']['package_version'] = nil
default['push_jobs']['common_package_url'] = nil
default['push_jobs']['common_package_checksum'] = nil
default['push_jobs']['package_url'] = nil
default['push_jobs']['package_checksum'] = nil

# What may run here, by name: a command, or a hash (command_line, lock, user, dir, env, …). See README.md.
default['push_jobs']['whitelist'] = { 'chef-client' => 'chef-client' }

# Environment variables of the agent, which its jobs inherit.
default['push_jobs']['environment_variables'] = { 'LC_ALL' => 'en_US.UTF-8' }

# What is nil is as the Chef client has it.
default['push_jobs']['chef']['chef_server_url'] = nil
default['push_jobs']['chef']['node_name'] = nil
default['push_jobs']['chef']['client_key_path'] = nil
default['push_jobs']['chef']['trusted_certs_path'] = nil
default['push_jobs']['chef']['verify_api_cert'] = true
default['push_jobs']['chef']['ssl_verify_mode'] = ':verify_peer'

default['push_jobs']['logging_level'] = 'info'

# Further settings of the agent, by their names.
default['push_jobs']['settings'] = {}

default['push_jobs']['config_dir'] = '/etc/pushy'
default['push_jobs']['program'] = '/usr/bin/pushy-agent'
