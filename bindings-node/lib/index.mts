// Both module systems share one implementation, so that `instanceof` works across them.
export * from './index.js'
