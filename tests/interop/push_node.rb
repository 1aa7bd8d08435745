# A node of Push Jobs 2.x with the libraries of Chef's own push client: mixlib-authentication, ffi-rzmq, OpenSSL.
#
#   push_node.rb URL NAME KEY CA
#
# It runs every command that it is asked to, until its input ends. Each line of its output is one thing that happened.

require_relative "chef"
require "base64"
require "cgi"
require "ffi-rzmq"
require "open3"
require "securerandom"
require "socket"

class PushNode
  def initialize(url, name, key_file, ca_file)
    @name = name
    @api = Api.new(url, name, key_file, ca_file, "1.1")
    @incarnation = SecureRandom.uuid
    @sequence = 0
    @state = "idle"
    @job = nil
    @public, @secret = ZMQ::Util.curve_keypair
    configure
  end

  def run
    context = ZMQ::Context.new
    heartbeats = connect(context, ZMQ::SUB, heartbeat("out_addr")) { |socket| socket.setsockopt(ZMQ::SUBSCRIBE, "") }
    commands = connect(context, ZMQ::DEALER, heartbeat("command_addr")) do |socket|
      socket.setsockopt(ZMQ::CURVE_SERVERKEY, @config["curve_public_key"])
      socket.setsockopt(ZMQ::CURVE_PUBLICKEY, @public)
      socket.setsockopt(ZMQ::CURVE_SECRETKEY, @secret)
    end
    beat_at = Time.now
    until input_ended?
      if Time.now >= beat_at
        say(commands, "heartbeat", "job_state" => @state)
        beat_at = Time.now + heartbeat("interval")
      end
      receive(heartbeats) { |header, body| server_beats(header, body) }
      receive(commands) { |header, body| obey(commands, header, body) }
      sleep 0.01
    end
  end

  private

  def configure
    answer = @api.request("GET", "pushy/config/#{@name}", "", "?ccpk=#{CGI.escape(@public)}&version=2.0")
    abort "config: #{answer.code} #{answer.body}" unless answer.code == "200"
    @config = JSON.parse(answer.body)
    abort "offered what 2.x does not know" if @config.key?("extensions")
    @server_key = OpenSSL::PKey::RSA.new(@config["public_key"])
    @session_key = @api.key.private_decrypt(Base64.decode64(@config["encoded_session_key"]["key"]))
    event "configured"
  end

  def heartbeat(name)
    @config["push_jobs"]["heartbeat"][name]
  end

  def connect(context, kind, address)
    socket = context.socket(kind)
    socket.setsockopt(ZMQ::LINGER, 0)
    yield socket
    socket.connect(address)
    socket
  end

  def receive(socket)
    frames = []
    return if socket.recv_strings(frames, ZMQ::DONTWAIT) == -1

    header, body = frames
    fields = header.split(";").to_h { |field| field.split(":", 2) }
    yield fields, body
  end

  def server_beats(header, body)
    digest = @server_key.public_decrypt(Base64.decode64(header["Signature"]))
    abort "the heartbeat's signature is wrong" unless digest == Base64.strict_encode64(OpenSSL::Digest::SHA1.digest(body))
    event "heartbeat" unless @heard
    @heard = JSON.parse(body).fetch("incarnation_id")
  end

  def obey(socket, header, body)
    expected = OpenSSL::HMAC.digest("sha256", @session_key, body)
    abort "a command's signature is wrong" unless Base64.decode64(header["Signature"]) == expected
    command = JSON.parse(body)
    event command["type"]
    case command["type"]
    when "abort"
      @state, @job = "idle", nil
      say(socket, "aborted")
    when "commit"
      @state, @job, @command, @captures = "committed", command["job_id"], command["command"], command["capture"]
      say(socket, "ack_commit")
    when "run"
      @state = "running"
      say(socket, "ack_run")
      finish(socket)
    end
  end

  def finish(socket)
    out, err, status = Open3.capture3(@command)
    output = @captures ? { "stdout" => out, "stderr" => err } : {}
    say(socket, status.success? ? "succeeded" : "failed", output)
    @state, @job = "idle", nil
  end

  def say(socket, type, more = {})
    message = {
      node: @name, client: Socket.gethostname, org: @config["organization"], protocol_version: "2.0", type: type,
      sequence: @sequence += 1, timestamp: Time.now.httpdate, incarnation_id: @incarnation, job_id: @job
    }.merge(more)
    body = JSON.generate(message)
    signature = Base64.strict_encode64(OpenSSL::HMAC.digest("sha256", @session_key, body))
    socket.send_strings(["Version:2.0;SigningMethod:hmac_sha256;Signature:#{signature}", body], ZMQ::DONTWAIT)
  end

  def input_ended?
    IO.select([$stdin], nil, nil, 0) && $stdin.read_nonblock(1, exception: false).nil?
  end

  def event(name)
    puts name
    $stdout.flush
  end
end

PushNode.new(*ARGV).run
