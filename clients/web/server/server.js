/** Requests to one Errata server, with a key or a token. Knows nothing of what is asked. */

/** The server said no. `status` is HTTP's, the message the server's own. */
export class ServerError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }

  /** Whether the same request may go well a little later. */
  get isPassing() {
    return this.status >= 500 || this.status === 429 || this.status === 408;
  }
}

/** Nobody answered: it is not known whether the request arrived. */
export class Unreachable extends Error {
  constructor() {
    super("the server cannot be reached");
  }
}

export class Server {
  /** `credential` gives a key, a token or null, anew for each request. */
  constructor(base, credential = () => null) {
    this.base = base;
    this.credential = credential;
  }

  /** The same server, asked with another credential. */
  as(credential) {
    return new Server(this.base, credential);
  }

  async get(path, query = {}) {
    return (await this.fetch("GET", path, { query })).json();
  }

  async post(path, body = undefined, options = {}) {
    return (await this.fetch("POST", path, { body, ...options })).json();
  }

  async delete(path, query = {}, options = {}) {
    return this.fetch("DELETE", path, { query, ...options });
  }

  async blob(path) {
    return (await this.fetch("GET", path)).blob();
  }

  /** The response, if it is good. Throws `ServerError`, `Unreachable`, or what an aborted signal throws. */
  async fetch(method, path, { query = {}, body, headers = {}, ...options } = {}) {
    const url = new URL(path, this.base);
    for (const [name, value] of Object.entries(query)) {
      if (value !== null && value !== undefined && value !== "") url.searchParams.set(name, value);
    }
    const credential = this.credential();
    const response = await fetch(url, {
      method,
      headers: {
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...(credential ? { authorization: `Bearer ${credential}` } : {}),
        ...headers,
      },
      body: body === undefined ? undefined : JSON.stringify(body),
      ...options,
    }).catch((error) => {
      throw error.name === "AbortError" ? error : new Unreachable();
    });
    if (!response.ok) throw new ServerError(response.status, await message(response));
    return response;
  }
}

async function message(response) {
  const body = await response.json().catch(() => null);
  return body?.error?.message ?? `the server answered ${response.status} ${response.statusText}`.trim();
}
