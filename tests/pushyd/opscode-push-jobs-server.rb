# /etc/opscode-push-jobs-server/opscode-push-jobs-server.rb
# How often the heartbeat is sent, in milliseconds.
opscode_pushy_server['heartbeat_interval'] = 1000
opscode_pushy_server['zeromq_listen_address'] = 'tcp://*'
opscode_pushy_server["command_port"] = 10_002
opscode_pushy_server['server_heartbeat_port'] = 10000
opscode_pushy_server['api_port'] = 10003
opscode_pushy_server['down_threshold'] = 0.6
opscode_pushy_server['rehab_timer'] = 1000
opscode_pushy_server['detect_offline_nodes_interval'] = 4
opscode_pushy_server['vip'] = 'push.example.com'
opscode_pushy_server['whitelist'] = { 'chef-client' => 'chef-client' }
opscode_pushy_server['max_body_size'] = 100
opscode_pushy_server['log_rotation']['num_to_keep'] = 10
postgresql['vip'] = "db.example.com"
opscode_pushy_server['server_name'] = node['fqdn'] if node['fqdn']
