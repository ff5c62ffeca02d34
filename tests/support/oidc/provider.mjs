// An OpenID provider of other hands (npm oidc-provider) and a small FHIR server that takes its tokens. Prints where both
// are as one line of JSON, and ends with its standard input.
import { createServer } from 'node:http';
import { createLocalJWKSet, exportJWK, generateKeyPair, jwtVerify } from 'jose';
import Provider from 'oidc-provider';

const OBSERVATIONS = 12;

// Everything lives by this clock, which a test puts forward: nobody has to wait until something has expired.
const clock = Date.now.bind(Date);
let ahead = 0;
Date.now = () => clock() + ahead * 1000;

const server = createServer();
await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
const issuer = `http://127.0.0.1:${server.address().port}`;
const base = `${issuer}/fhir`;

const { privateKey } = await generateKeyPair('RS256', { extractable: true });
const key = { ...(await exportJWK(privateKey)), kid: 'conformance', alg: 'RS256', use: 'sig' };
const { kty, n, e, kid, alg, use } = key;
const keys = createLocalJWKSet({ keys: [{ kty, n, e, kid, alg, use }] });

const provider = new Provider(issuer, {
  clients: [{
    client_id: 'fhirvest',
    application_type: 'native',
    token_endpoint_auth_method: 'none',
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    redirect_uris: ['http://127.0.0.1/callback'],
  }],
  cookies: { keys: ['conformance'] },
  jwks: { keys: [key] },
  scopes: ['openid', 'offline_access'],
  findAccount: (_, accountId) => ({ accountId, claims: () => ({ sub: accountId }) }),
  ttl: { AccessToken: 900, AuthorizationCode: 60, IdToken: 900, RefreshToken: 86400, Grant: 86400, Interaction: 3600, Session: 86400 },
  features: {
    devInteractions: { enabled: true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => base,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        scope: 'patient/*.read', audience: base, accessTokenTTL: 900, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } },
      }),
    },
  },
  extraTokenClaims: (_, token) => ({ patient_id: token.accountId }),
});

// What the token endpoint did, for the tests.
const grants = [];
provider.on('grant.success', (ctx) => grants.push(ctx.oidc.params.grant_type));
provider.on('grant.error', (ctx, error) => grants.push(`${ctx.oidc.params?.grant_type}: ${error.error}`));

let requests = 0;
let leap;

async function member(request) {
  const token = request.headers.authorization?.replace(/^Bearer /, '') ?? '';
  const { payload } = await jwtVerify(token, keys, { issuer, audience: base, currentDate: new Date(Date.now()) });
  return payload.patient_id;
}

function searched(type, url, of) {
  if (type === 'Patient') return url.searchParams.get('_id') === of ? [{ resourceType: 'Patient', id: of }] : undefined;
  if (type !== 'Observation' || url.searchParams.get('patient')?.replace(/^Patient\//, '') !== of) return undefined;
  return Array.from({ length: OBSERVATIONS }, (_, index) => ({
    resourceType: 'Observation', id: `${of}-${index}`, status: 'final', code: { text: 'pulse' }, subject: { reference: `Patient/${of}` },
  }));
}

function page(url, all) {
  const count = Number(url.searchParams.get('_count') ?? 20);
  const from = Number(url.searchParams.get('from') ?? 0);
  const bundle = { resourceType: 'Bundle', type: 'searchset', total: all.length, link: [] };
  bundle.entry = all.slice(from, from + count).map((resource) => ({ resource, search: { mode: 'match' } }));
  if (from + count < all.length) {
    const next = new URL(url);
    next.searchParams.set('from', from + count);
    bundle.link.push({ relation: 'next', url: next.href });
  }
  return bundle;
}

async function fhir(request, url) {
  if (url.pathname === '/fhir/metadata') return [200, { resourceType: 'CapabilityStatement', fhirVersion: '4.0.1' }];
  requests += 1;
  if (leap && requests > leap.after) {
    ahead += leap.seconds;
    leap = undefined;
  }
  let of;
  try {
    of = await member(request);
  } catch {
    return [401, { resourceType: 'OperationOutcome', issue: [{ severity: 'error', code: 'login' }] }];
  }
  const all = searched(url.pathname.slice('/fhir/'.length), url, of);
  if (!all) return [403, { resourceType: 'OperationOutcome', issue: [{ severity: 'error', code: 'forbidden' }] }];
  return [200, page(url, all)];
}

// POST /test/clock?seconds=N puts the clock forward, with &after=K when K more FHIR requests have come.
function forward(url) {
  const seconds = Number(url.searchParams.get('seconds'));
  const after = url.searchParams.get('after');
  if (after === null) ahead += seconds;
  else leap = { seconds, after: requests + Number(after) };
  return [200, {}];
}

const callback = provider.callback();
server.on('request', async (request, response) => {
  const url = new URL(request.url, issuer);
  let answer;
  if (url.pathname.startsWith('/fhir/')) answer = await fhir(request, url);
  else if (url.pathname === '/test/clock') answer = forward(url);
  else if (url.pathname === '/test/grants') answer = [200, grants];
  else return callback(request, response);
  response.writeHead(answer[0], { 'content-type': 'application/fhir+json' }).end(JSON.stringify(answer[1]));
});

console.log(JSON.stringify({ issuer, base_url: base }));
process.stdin.resume().on('end', () => process.exit(0));
