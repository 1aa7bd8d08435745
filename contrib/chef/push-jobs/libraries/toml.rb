module PushJobs
  # TOML of plain values; a hash stands on one line.
  module Toml
    def self.value(value)
      case value
      when Hash, ->(other) { other.respond_to?(:to_hash) }
        "{ #{value.to_hash.map { |key, each| "#{text(key.to_s)} = #{value(each)}" }.join(', ')} }"
      when Array, ->(other) { other.respond_to?(:to_ary) }
        "[#{value.to_ary.map { |each| value(each) }.join(', ')}]"
      when Integer, Float, true, false
        value.to_s
      when String, Symbol
        text(value.to_s)
      else
        raise ArgumentError, "push-jobs: #{value.inspect} has no equal in TOML"
      end
    end

    def self.text(text)
      quoted = text.gsub(/["\\]/) { |character| "\\#{character}" }
                   .gsub(/[\u0000-\u001f\u007f]/) { |character| format('\\u%04X', character.ord) }
      "\"#{quoted}\""
    end
  end
end
