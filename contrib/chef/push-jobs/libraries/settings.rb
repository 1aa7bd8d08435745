module PushJobs
  # The agent's settings, made of the attributes.
  module Settings
    KEYS = %w(command match shell lock user allow_user dir env timeout capture_limit output_limit).freeze

    # All but the whitelist. What an attribute does not say is as the Chef client (chef, a hash) has it.
    def self.of(attributes, chef)
      given = attributes['chef']
      settings = {
        'chef_server_url' => given['chef_server_url'] || chef[:chef_server_url],
        'node_name' => given['node_name'] || chef[:node_name],
        'client_key' => given['client_key_path'] || chef[:client_key] || '/etc/chef/client.pem',
        'trusted_certs_dir' => given['trusted_certs_path'],
        'ssl_verify_mode' => verify_mode(given),
        'log_level' => attributes['logging_level'].to_s,
        'whitelist_dir' => ::File.join(attributes['config_dir'], 'whitelist.d'),
      }
      settings.merge(attributes['settings'].to_hash).compact
    end

    # The whitelist's entries by name. A key may be a Regexp, and a value a hash of the original's form or of ours.
    def self.whitelist(attributes)
      attributes['whitelist'].to_hash.map { |name, entry| entry_of(name, entry) }.to_h
    end

    def self.verify_mode(given)
      mode = given['ssl_verify_mode'].to_s.delete_prefix(':')
      given['verify_api_cert'] ? 'verify_peer' : mode
    end

    def self.entry_of(name, entry)
      table = entry.respond_to?(:to_hash) ? entry.to_hash.transform_keys(&:to_s) : { 'command' => entry.to_s }
      table['command'] = table.delete('command_line') if table.key?('command_line')
      unknown = table.keys - KEYS
      raise ArgumentError, "push-jobs: whitelist: #{name.inspect} has #{unknown.join(', ')}" unless unknown.empty?

      return [name.to_s, table.compact] unless name.is_a?(Regexp)

      flags = name.options & Regexp::IGNORECASE == 0 ? '' : '(?i)'
      # The agent matches whole names; \z is Python's \Z.
      [flags + name.source.gsub(/\\[zZ]\z/, '\Z'), table.compact.merge('match' => 're')]
    end
  end
end
