# Installs the agent, writes its settings and its whitelist, and has it run.

attributes = node['push_jobs']
config_dir = attributes['config_dir']

if attributes['package_url']
  files = %w(common_package package).map do |kind|
    url = attributes["#{kind}_url"]
    next unless url

    file = ::File.join(Chef::Config[:file_cache_path], ::File.basename(url))
    remote_file file do
      source url
      checksum attributes["#{kind}_checksum"] if attributes["#{kind}_checksum"]
    end
    file
  end.compact

  # apt, and not dpkg, for what the packages depend on.
  execute 'install pushy-agent' do
    command "apt-get install --yes -o Dpkg::Options::=--force-confold #{files.join(' ')}"
    environment 'DEBIAN_FRONTEND' => 'noninteractive'
    not_if "test \"$(dpkg-query --show --showformat='${Version}' pushy-agent)\" = " \
           "\"$(dpkg-deb --field #{files.last} Version)\""
  end
else
  apt_package attributes['package_name'] do
    version attributes['package_version'] if attributes['package_version']
  end
end

[config_dir, ::File.join(config_dir, 'whitelist.d')].each do |path|
  directory path do
    owner 'root'
    group 'root'
    mode '0755'
    recursive true
  end
end

template ::File.join(config_dir, 'pushy-agent.toml') do
  source 'pushy-agent.toml.erb'
  owner 'root'
  group 'root'
  mode '0640'
  variables(
    settings: PushJobs::Settings.of(attributes, Chef::Config),
    whitelist: PushJobs::Settings.whitelist(attributes)
  )
  # Settings that the agent would refuse do not replace those that it has.
  verify "#{attributes['program']} --config %{path} --check-config"
  notifies :reload, 'service[pushy-agent]'
end

directory '/etc/systemd/system/pushy-agent.service.d' do
  owner 'root'
  group 'root'
  mode '0755'
end

template '/etc/systemd/system/pushy-agent.service.d/environment.conf' do
  source 'environment.conf.erb'
  owner 'root'
  group 'root'
  mode '0640'
  variables(variables: attributes['environment_variables'])
  notifies :run, 'execute[systemctl daemon-reload]', :immediately
end

execute 'systemctl daemon-reload' do
  action :nothing
  notifies :run, 'execute[restart pushy-agent]'
end

# As soon as it has no job: this run may be its job, and a plain restart would wait for it.
execute 'restart pushy-agent' do
  command 'systemctl kill --kill-who=main --signal=USR2 pushy-agent'
  action :nothing
  only_if 'systemctl --quiet is-active pushy-agent'
end

service 'pushy-agent' do
  supports reload: true
  action [:enable, :start]
end
