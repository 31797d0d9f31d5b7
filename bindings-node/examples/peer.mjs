// Exchanges each new access token for one that names a libp2p peer, and passes that token on. Options come from the
// environment: see the README.
import { generateKeyPairSync, sign } from 'node:crypto'
import process from 'node:process'

import { PosemeshNode } from 'posemesh-node'

const DDS = process.env.DDS_BASE_URL ?? 'https://dds.auki.network'

// The identity of the peer. A program with libp2p uses the key and the id of its libp2p node instead.
const { privateKey, publicKey } = generateKeyPairSync('ed25519')
const peer = {
  id: process.env.PEER_ID ?? '12D3KooWExample',
  publicKey: Buffer.from(publicKey.export({ format: 'jwk' }).x, 'base64url'),
  sign: (bytes) => sign(null, bytes, privateKey),
}

/** Passes the token on to the part of the program that needs it. */
function usePeerToken({ peer_id, access_expires_at }) {
  console.log(`peer ${peer_id} is bound to the node until ${access_expires_at}`)
}

async function post(path, token, body) {
  const response = await fetch(`${DDS}/internal/v1/auth/p2p/${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token.value}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(10_000),
  })
  if (!response.ok) throw new Error(`${path} failed with ${response.status}: ${await response.text()}`)
  return response.json()
}

async function exchange(token) {
  const publicKey = Buffer.concat([Buffer.from([8, 1, 18, 32]), peer.publicKey]) // as libp2p encodes an Ed25519 key
  const { challenge_id, challenge } = await post('challenge', token, {
    peer_id: peer.id,
    public_key: publicKey.toString('base64url'),
  })
  const signature = peer.sign(Buffer.from(challenge, 'base64url')).toString('base64url')
  return post('verify', token, { challenge_id, signature })
}

const node = await PosemeshNode.fromEnv({ nodeVersion: '1.0.0', logger: console })
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => node.stop())

node.on('tokenRefreshed', async () => {
  const token = node.tryAccessToken()
  if (!token) return // It has already been invalidated, and another event follows.
  try {
    const peerToken = await exchange(token)
    // If the node has a newer token by now, its exchange has begun.
    if (token.value === node.tryAccessToken()?.value) usePeerToken(peerToken)
  } catch (error) {
    console.error(`the exchange failed, and is tried again with the next token: ${error.message}`)
  }
})

try {
  await node.accessToken() // The first token. The node renews it by itself.
} catch (error) {
  // A signal has stopped the node before it had a token.
  if (error.code !== 'ERR_STOPPED') throw error
}
