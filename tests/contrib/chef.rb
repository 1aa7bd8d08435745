# Runs the recipe of a cookbook as far as it can be run without Chef: attributes and libraries are evaluated, resources
# are noted down, templates rendered. Arguments: the cookbook, a file of further attributes. Writes JSON.
require 'erb'
require 'json'

COOKBOOK, OVERRIDES = ARGV

module Chef
  Config = { chef_server_url: 'https://chef.example.com/organizations/acme', node_name: 'web1.example.com',
             client_key: '/etc/chef/client.pem', file_cache_path: '/var/cache/chef' }.freeze
end

# Attributes make themselves by being asked for, and are frozen afterwards.
def tree
  Hash.new { |hash, key| hash[key] = tree }
end

def frozen(value)
  return value.freeze unless value.is_a?(Hash)

  value.default = nil
  value.each_value { |each| frozen(each) }
  value.freeze
end

class Attributes
  attr_reader :default

  def initialize(default)
    @default = default
  end

  def read(file)
    instance_eval(File.read(file), file)
  end
end

class Resource
  attr_reader :properties

  def initialize
    @properties = {}
  end

  def respond_to_missing?(*)
    true
  end

  def method_missing(name, *arguments, **named, &block)
    (@properties[name] ||= []).push(*arguments, *(named.empty? ? [] : [named]), *(block ? [:block] : []))
  end
end

class Recipe
  attr_reader :node, :resources

  def initialize(node)
    @node = node
    @resources = []
  end

  def respond_to_missing?(*)
    true
  end

  def method_missing(kind, name, &block)
    resource = Resource.new
    resource.instance_eval(&block) if block
    @resources << [kind, name, resource.properties]
  end
end

class Context
  def initialize(variables)
    variables.each { |name, value| instance_variable_set("@#{name}", value) }
  end

  def render(file)
    ERB.new(File.read(file), trim_mode: '-').result(binding)
  end
end

Dir[File.join(COOKBOOK, 'libraries', '*.rb')].sort.each { |file| require File.expand_path(file) }
node = tree
attributes = Attributes.new(node)
attributes.read(File.join(COOKBOOK, 'attributes', 'default.rb'))
attributes.read(OVERRIDES)
recipe = Recipe.new(frozen(node))
file = File.join(COOKBOOK, 'recipes', 'default.rb')
recipe.instance_eval(File.read(file), file)
made = recipe.resources.map do |kind, name, properties|
  if kind == :template
    variables = properties[:variables].first
    properties[:content] = Context.new(variables).render(File.join(COOKBOOK, 'templates', properties[:source].first))
  end
  { kind: kind, name: name, properties: properties }
end
puts JSON.generate(made)
