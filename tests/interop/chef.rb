# What the two Ruby peers share: requests signed by mixlib-authentication, the library that Chef itself signs with.

require "openssl" # before mixlib, which expects it
require "mixlib/authentication/signedheaderauth"
require "json"
require "net/http"
require "time"
require "uri"

class Api
  # `version` is that of the signature: 1.0, 1.1 or 1.3.
  def initialize(url, name, key_file, ca_file, version)
    @base = URI(url)
    @name = name
    @key = OpenSSL::PKey::RSA.new(File.read(key_file))
    @version = version
    @http = Net::HTTP.new(@base.host, @base.port)
    @http.use_ssl = true
    @http.ca_file = ca_file
  end

  attr_reader :key

  def request(verb, path, body = "", query = "")
    full_path = "#{@base.path}/#{path}"
    signed = Mixlib::Authentication::SignedHeaderAuth.signing_object(
      http_method: verb.downcase, path: full_path, body: body, host: @base.host, user_id: @name,
      timestamp: Time.now.utc.iso8601, proto_version: @version, headers: { "X-Ops-Server-API-Version" => "0" }
    )
    headers = signed.sign(@key).merge("Accept" => "application/json", "X-Ops-Server-API-Version" => "0")
    request = Net::HTTP.const_get(verb.capitalize).new(full_path + query, headers)
    request["Content-Type"] = "application/json"
    request.body = body unless body.empty?
    @http.request(request)
  end
end
