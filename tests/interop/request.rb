# One signed request: request.rb URL NAME KEY CA VERSION VERB PATH [BODY]. Prints the status, then the body.

require_relative "chef"

url, name, key, ca, version, verb, path, body = ARGV
answer = Api.new(url, name, key, ca, version).request(verb, path, body || "")
puts answer.code
puts answer.body
