"""The options and help of the ``config`` commands; :mod:`pushy_cli.configuring` does them."""

import click

from pushy_cli.options import Group, common_options, run


@click.group(cls=Group)
def config() -> None:
    """Set up and check how the server is reached, and as whom."""


@config.command()
@common_options
@click.pass_context
def init(ctx: click.Context) -> None:
    """Write a profile to the credentials file, and check it.

    What --server-url, --client-name, --client-key and --ca-file do not say is asked for. The profile is that of
    --profile, the file that of --credentials, else ~/.pushy/credentials. A profile that is there already is never
    changed.
    """
    from pushy_cli import configuring

    run(ctx, configuring.init)


@config.command()
@common_options
@click.pass_context
def show(ctx: click.Context) -> None:
    """Show which server is asked, as whom, and whom is trusted. The key itself is never shown."""
    from pushy_cli import configuring

    run(ctx, configuring.show)


@config.command()
@common_options
@click.pass_context
def check(ctx: click.Context) -> None:
    """Look at each step to the server: name, connection and TLS, clock, key, rights.

    Exits with 0 if jobs can be looked at, with 6 if not.
    """
    from pushy_cli import checking

    run(ctx, checking.check)


@config.command("fetch-ca")
@click.option("--fingerprint", metavar="SHA256", help="Trust it only if its fingerprint is this; do not ask.")
@common_options
@click.argument("url", metavar="[URL]", required=False)
@click.pass_context
def fetch_ca(ctx: click.Context, url: str | None, fingerprint: str | None) -> None:
    """Show the certificate of the server (or of its CA), and trust it if you say so.

    Compare the fingerprint with one that you got in another way, for example on the server itself:

    \b
      openssl x509 -noout -fingerprint -sha256 -in ca.pem

    The certificate is written to ~/.pushy/trusted_certs.
    """
    from pushy_cli import fetching_ca

    run(ctx, lambda session: fetching_ca.fetch(session, url, fingerprint))
